"""How ``intentloop train`` tells what it is doing: a bar for people, JSON lines for the trainer that started it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from training.progress import Progress

Report = Callable[["Progress"], None]


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on stderr, one line per stage."""
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        lines: dict[str, int] = {}

        def report(now: Progress) -> None:
            for stage, line in lines.items():
                if stage != now.stage:
                    bar.update(bar.task_ids[line], completed=bar.tasks[line].total)
            if now.stage not in lines:
                lines[now.stage] = len(lines)
                bar.add_task(now.stage, total=now.total_steps or 1)
            bar.update(bar.task_ids[lines[now.stage]], completed=now.step, total=now.total_steps or 1)

        yield report
        for line in bar.task_ids:
            bar.update(line, completed=bar.tasks[line].total)


@contextmanager
def json_lines() -> Iterator[Report]:
    """One JSON object per report on stdout."""
    yield lambda now: print(json.dumps({"progress": now.as_json()}), flush=True)


def end_with_stdin() -> None:
    """End this process as soon as stdin closes: whoever started it has died, however it died."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(3)  # nothing to tidy that matters: scratch folders are the system's, and the artefact is not renamed yet

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
