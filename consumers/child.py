"""The child processes in which training and judging happen: torch lives there, and they can be killed at any moment."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from schema.errors import TrainingError

POLL_SECONDS: Final = 0.2


class ChildFailed(TrainingError):
    """The child ended without a result; the message says why, `log_text` is what it wrote."""

    def __init__(self, message: str, log_text: str) -> None:
        super().__init__(message)
        self.log_text = log_text


def run_child(
    command: Sequence[str],
    log_path: Path,
    *,
    environ: Mapping[str, str] | None,
    watch: Callable[[], None],
    progress: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], str]:
    """Run `command`; returns the last ``{"result": ...}`` that it printed, and its log.

    Args:
        command: prints JSON lines, and ends when its stdin does: that is, when this process ends, however it ends.
        log_path: where its stderr goes.
        environ: its environment; None for this process's.
        watch: called about five times a second; what it raises ends the child.
        progress: called with each ``{"progress": ...}``.

    Raises:
        ChildFailed: it ended without a result.
    """
    with log_path.open("w") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environ,
        )
    try:
        result = _follow(child, watch, progress)
    finally:
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
        code = child.wait()
        if child.stdin is not None:
            child.stdin.close()
    text = log_path.read_text(errors="replace")
    if result is None or code != 0:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
        raise ChildFailed(f"the training process ended with code {code}: {last[-500:]}", text)
    return result, text


def _follow(
    child: subprocess.Popen[str], watch: Callable[[], None], progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any] | None:
    """Read the child's lines until it ends."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True)
    reader.start()
    result: dict[str, Any] | None = None
    while True:
        watch()
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return result
        said = _parse(line)
        result = said.get("result", result)
        if told := said.get("progress"):
            progress(told)


def _pump(stream: Any, lines: queue.SimpleQueue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _parse(line: str) -> dict[str, Any]:
    """A line of the child; what is no JSON object (a library that prints) says nothing."""
    try:
        said = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
