"""A process under measurement, and what the kernel says it used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Measured:
    """A command, started; with `cpu_seconds` and `peak_mb` of it and its children."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INTENTLOOP_")}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(command), env=inherited | dict(environ), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    @classmethod
    def intentloop(cls, name: str, environ: Mapping[str, str], log: Path) -> Measured:
        """``intentloop NAME``."""
        return cls([sys.executable, "-m", "intentloop", name], environ, log)

    def tree(self) -> Iterator[Path]:
        """The /proc folders of the process and its descendants."""
        waiting = [self.process.pid]
        while waiting:
            folder = Path(f"/proc/{waiting.pop()}")
            try:
                waiting += [int(p) for task in (folder / "task").iterdir() for p in (task / "children").read_text().split()]
            except OSError:
                continue  # it has ended
            yield folder

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        ticks = 0
        for folder in self.tree():
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def peak_mb(self) -> float:
        """The sum of the largest resident sizes."""
        total = 0
        for folder in self.tree():
            total += next(int(line.split()[1]) for line in (folder / "status").read_text().splitlines() if "VmHWM" in line)
        return total / 1024

    def alive(self) -> None:
        """Raises where it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
