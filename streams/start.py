"""How a streams worker starts: its writer first, so that the two processes import side by side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection as Link
from typing import Final

from schema.settings import PREFIX, Settings, environment

WRITER: Final = "from streams.writer import main; main()"
"""Not ``-m``: what a module run so pickles names ``__main__``."""


@dataclass(frozen=True, slots=True)
class WriterProcess:
    """A writer child, and our end of the socket to it."""

    child: subprocess.Popen[bytes]
    link: Link


def start_writer(settings: Settings) -> WriterProcess:
    """Start the writer of a worker with `settings`; it ends when our end of its socket is closed."""
    ours, theirs = socket.socketpair()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=inherited | environment(settings),
        )
    return WriterProcess(child, Link(ours.detach()))


def run(settings: Settings) -> None:
    """Run a streams worker; returns after SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting is missing.
        TransientError: the database or the broker stayed away too long.
    """
    settings.require("kafka", "database_url", "pseudonym_key")
    writer = start_writer(settings)
    from streams.app import run_worker  # here: Faust takes a second to import, in which the writer imports too

    run_worker(settings, writer)
