"""The whole system on one machine: Kafka, MariaDB, api, streams, trainer and replicas. ``intentloop up`` is this."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

from pydantic import SecretStr
from rich.console import Console

from local.first_start import first_start
from local.kafka import EmbeddedKafka
from local.mariadb import EmbeddedMariaDB
from local.ports import require_free
from local.steps import Steps
from local.supervisor import Service, Supervisor
from schema.errors import ConfigError
from schema.settings import PREFIX, Settings, environment, variable

REPLICAS: Final = 2
MIN_FREE_BYTES: Final = 500_000_000


class System:
    """Servers and processes; `settings` are those that the processes run with.

    What the given settings leave open is filled in: embedded servers with their data in ``var``, and a pseudonym key that is
    made once and kept in ``var/pseudonym.key``.
    """

    def __init__(self, settings: Settings, builtin: Path, steps: Steps) -> None:
        self.settings = settings
        self.supervisor = Supervisor()
        self._builtin = builtin
        self._steps = steps
        self._stack = ExitStack()

    @property
    def api_url(self) -> str:
        """Where the ops API listens."""
        return f"http://{self.settings.host}:{self.settings.api_port}"

    @property
    def replica_urls(self) -> list[str]:
        """Where the replicas listen."""
        return [f"http://{self.settings.host}:{self.settings.replica_port + i}" for i in range(REPLICAS)]

    @property
    def streams_url(self) -> str:
        """Where the streams worker listens."""
        return f"http://{self.settings.host}:{self.settings.streams_port}"

    def start(self) -> Self:
        """Start everything and wait until it is ready.

        Raises:
            ConfigError: a port is in use, the disk is full, or something does not start.
        """
        try:
            self._prepare()
            self._start_servers()
            with self._steps.step("tables, topics, built-in version"):
                for _ in first_start(self.settings, self._builtin):
                    pass
            self._start_processes()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the processes, then the servers."""
        self.supervisor.stop()
        self._stack.close()

    def service(self, name: str, port: int, **changes: Any) -> Service:
        """``intentloop NAME`` as a service, with `changes` to the settings."""
        given = self.settings.model_copy(update=changes)
        return Service(
            name=f"{name} {port}",
            command=(sys.executable, "-m", "intentloop", name),
            environ=child_environment(os.environ, given),
            url=f"http://{given.host}:{port}",
            log=given.var / "log" / f"{name}-{port}.log",
        )

    def _prepare(self) -> None:
        settings = self.settings
        require_ports(settings)
        make_folder(settings.var)
        if not settings.pseudonym_key.get_secret_value():
            key = pseudonym_key(settings.var / "pseudonym.key")
            self.settings = settings.model_copy(update={"pseudonym_key": key})

    def _start_servers(self) -> None:
        found: dict[str, object] = {}
        if not self.settings.kafka:
            with self._steps.step("Kafka"):
                found["kafka"] = self._stack.enter_context(EmbeddedKafka(self.settings.var)).bootstrap
        if not self.settings.database_url.get_secret_value():
            with self._steps.step("MariaDB"):
                database = self._stack.enter_context(EmbeddedMariaDB(self.settings.var))
                found["database_url"] = SecretStr(database.url("intentloop"))
        self.settings = self.settings.model_copy(update=found)

    def _start_processes(self) -> None:
        settings = self.settings
        ports = {"streams": settings.streams_port, "trainer": settings.trainer_port, "api": settings.api_port}
        with self._steps.step(f"streams, trainer, {REPLICAS} replicas, api") as advance:
            for name, port in ports.items():
                self.supervisor.start(self.service(name, port))
            for i in range(REPLICAS):
                port = settings.replica_port + i
                self.supervisor.start(self.service("replica", port, replica_port=port, replica_id=f"replica-{i + 1}"))
            done = 0

            def ready(_: str) -> None:
                nonlocal done
                done += 1
                advance(done, len(ports) + REPLICAS)

            self.supervisor.wait_ready(ready)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def child_environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The variables of a child that is to run with `settings`, and with nothing else of ours."""
    others = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return others | environment(settings.model_copy(update={"var": settings.var.absolute()}))


def require_ports(settings: Settings) -> None:
    """Check that every process can listen.

    Raises:
        ConfigError: a port is in use.
    """
    for name in ("api_port", "streams_port", "trainer_port"):
        require_free(getattr(settings, name), variable(name), settings.host)
    for i in range(REPLICAS):
        require_free(settings.replica_port + i, f"replica {i + 1}, {variable('replica_port')} + {i}", settings.host)


def make_folder(folder: Path) -> None:
    """Make `folder`, and see that there is room.

    Raises:
        ConfigError: it cannot be made or written, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"the folder {folder} cannot be used ({why}): set INTENTLOOP_VAR to another") from None
    if free < MIN_FREE_BYTES:
        raise ConfigError(
            f"the disk of {folder} has {free / 1e6:.0f} MB left, at least {MIN_FREE_BYTES / 1e6:.0f} MB are needed:"
            " free some, or set INTENTLOOP_VAR to a folder on another disk"
        )


def pseudonym_key(path: Path) -> SecretStr:
    """The key in the file `path`, made at the first call; only its owner may read it."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return SecretStr(path.read_text().strip())


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM does what Ctrl-C does; either ends the block, and that is no error."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def serve_until_interrupted(system: System) -> None:
    """Keep everything running until Ctrl-C or SIGTERM."""
    while True:
        system.supervisor.tend()
        time.sleep(1)  # the state of other processes: nothing to await


def run_up(settings: Settings, builtin: Path) -> None:
    """Start the system, say where it is, and serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: it cannot be started.
    """
    steps = Steps(Console(stderr=True))
    with ended_by_signals(), System(settings, builtin, steps) as system:
        steps.say(f"API and console   {system.api_url}")
        for url in system.replica_urls:
            steps.say(f"replica           {url}/v1/classify")
        steps.say(f"Kafka             {system.settings.kafka}")
        steps.say(f"data and logs     {system.settings.var.absolute()}")
        steps.say("Ctrl-C ends all of it.")
        serve_until_interrupted(system)
