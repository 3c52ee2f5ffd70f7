"""A streams worker behind a proxy of its own, and what a test does to its processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import TracebackType

from pydantic import SecretStr

from local.ports import free_port
from local.supervisor import is_ready
from schema.settings import Settings
from schema.tables import utc_now
from tests.faults.proxy import Proxy
from tests.running import Process, wait_until


def family(pid: int) -> list[int]:
    """`pid` and all its living descendants, parents first. Zombies are dead."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it ended while we looked
            if state != "Z":
                parents[int(folder.name)] = int(parent)
    found = [pid] if pid in parents else []
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


class Worker(Process):
    """``intentloop streams``, reaching its database by way of `proxy`.

    Attributes:
        spawned_at: when it was started, as the database keeps moments: rows made later are not an earlier worker's.
    """

    def __init__(self, settings: Settings) -> None:
        self.proxy = Proxy(settings.database_url.get_secret_value())
        port = free_port()
        changed = {"database_url": SecretStr(self.proxy.url), "streams_port": port}
        self.spawned_at = utc_now()
        os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # a crash in native code says where in the log
        super().__init__(settings.model_copy(update=changed), "streams", port)

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        return is_ready(self.url)

    def kill(self) -> None:
        """kill -9 to all its processes, as a machine or a container ends; what the proxy holds never happens."""
        members = family(self.child.pid)
        for pid in members:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(family, members)), "the worker is dead", 10)
        self.child.wait(10)
        self.proxy.drop()

    def kill_alone(self) -> None:
        """kill -9 to its main process; those that it had started must end by themselves, before they do anything more."""
        members = family(self.child.pid)
        super().kill()
        wait_until(lambda: not any(map(family, members)), "no process of a killed worker outlives it", 5)
        self.proxy.drop()

    def freeze(self) -> None:
        """SIGSTOP to the worker and all its processes, as a paused machine does."""
        for pid in family(self.child.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        for pid in family(self.child.pid):
            os.kill(pid, signal.SIGCONT)

    def release(self) -> None:
        """Ask it to end, whatever state the test has left it in; does not wait."""
        self.thaw()
        self.proxy.forgive()
        self.proxy.up()
        if self.child.poll() is None:
            self.child.terminate()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self.proxy.stop()
