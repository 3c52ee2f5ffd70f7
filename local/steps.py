"""What a person sees while something takes time: one line per step, with a bar where its length is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[float, float], None]
"""Called with how much is done, and of how much."""


class Steps:
    """Shows steps on `console`; where that is no terminal, a line at the end of each."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, what: str) -> Iterator[Advance]:
        """Show `what` as going on; the bar moves when the given function is called."""
        began = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description:34}"), BarColumn(30), TextColumn("{task.fields[count]:>11}"))
        shown = self._console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True, disable=not shown) as progress:
            task = progress.add_task(what, total=None, count="")

            def advance(done: float, total: float) -> None:
                progress.update(task, completed=done, total=total, count=f"{done:.0f}/{total:.0f}")

            yield advance
        self._console.print(f"[green]✓[/] {what:58} {time.monotonic() - began:6.1f} s", highlight=False)

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, highlight=False)
