"""Child processes that never outlive this one, and end orderly when asked to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ORDERLY_SECONDS: Final = 30.0
"""How long a child may take to end after SIGTERM."""


def spawn(command: Sequence[str], *, log: Path, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`; what it writes is appended to `log`.

    The kernel kills it when the thread that called this ends (PR_SET_PDEATHSIG, set by util-linux' setpriv), also when that
    was killed itself: call this from the main thread. It gets a session of its own, so that Ctrl-C reaches this process
    alone, which then ends its children in order.
    """
    setpriv = shutil.which("setpriv")
    # The shell looks whether this process still lives: one that died before the signal was asked for gives none.
    check = ["/bin/sh", "-c", f'[ "$PPID" = {os.getpid()} ] && exec "$@"', "sh"]
    bound = [setpriv, "--pdeathsig", "KILL", "--", *check, *command] if setpriv else list(command)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            bound, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, start_new_session=True
        )


def end(child: subprocess.Popen[bytes], *, seconds: float = ORDERLY_SECONDS) -> int:
    """SIGTERM, after `seconds` SIGKILL; returns the exit status."""
    child.terminate()
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def last_line(log: Path) -> str:
    """The last line of `log` that says something."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
