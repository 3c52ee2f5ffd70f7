"""Our own processes on one machine: started together, restarted when one dies, ended in order."""

from __future__ import annotations

import logging
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local.children import end, last_line, spawn
from schema.errors import ConfigError

log = logging.getLogger(__name__)
READY_SECONDS: Final = 90.0
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A process that ran this long gets its next restart at once."""
STARTED_WRONGLY: Final = 2
"""The exit status of a process whose settings are at fault: starting it again cannot help."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process: how it is called, and where it says whether it is ready."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    url: str
    log: Path


@dataclass(slots=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    failures: int = 0
    start_at: float | None = None


class Supervisor:
    """Starts services, keeps them running, and ends them in the reverse order of their start."""

    def __init__(self) -> None:
        self._children: list[_Child] = []

    def start(self, service: Service) -> None:
        """Start `service`; does not wait for it."""
        process = spawn(service.command, log=service.log, environ=service.environ)
        self._children.append(_Child(service, process))

    def wait_ready(self, ready: Callable[[str], None] = lambda _: None) -> None:
        """Wait until all services are ready; `ready` hears each one's name.

        Raises:
            ConfigError: one ended, or is not ready in time; the message has the last line of its log.
        """
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self._children)
        while waiting:
            for child in list(waiting):
                service = child.service
                if child.process.poll() is not None:
                    why = last_line(service.log).removeprefix("error: ")
                    raise ConfigError(f"{service.name} did not start: {why} (more in {service.log})")
                if is_ready(service.url):
                    waiting.remove(child)
                    ready(service.name)
                elif time.monotonic() > deadline:
                    raise ConfigError(f"{service.name} is not ready after {READY_SECONDS:g} s: see {service.log}")
            time.sleep(0.1)  # the state of another process: nothing to await

    def tend(self) -> None:
        """Restart what has died, at most every 30 s each; call it about once a second.

        Raises:
            ConfigError: a process was started wrongly; starting it again would not help.
        """
        for child in self._children:
            service, now = child.service, time.monotonic()
            if child.process.poll() is None:
                continue
            if child.start_at is None:
                if child.process.returncode == STARTED_WRONGLY:
                    raise ConfigError(f"{service.name}: {last_line(service.log).removeprefix('error: ')}")
                child.failures = 0 if now - child.started > STEADY_SECONDS else child.failures + 1
                pause = min(LONGEST_PAUSE, 2.0**child.failures - 1)
                child.start_at = now + pause
                log.warning("%s ended with %s; restart in %.0f s", service.name, child.process.returncode, pause)
            elif now >= child.start_at:
                child.process = spawn(service.command, log=service.log, environ=service.environ)
                child.started, child.start_at = now, None

    def stop(self) -> None:
        """End all, the last started first, and wait for them."""
        for child in reversed(self._children):
            if child.process.poll() is None:
                end(child.process)
        self._children.clear()


def is_ready(url: str) -> bool:
    """Whether the process at `url` answers 200 on /readyz."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
