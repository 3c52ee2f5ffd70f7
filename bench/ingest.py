"""How fast questions are ingested: our worker against a bare loop and Quix Streams, on the same topic. ``make bench``.

Three rounds, interleaved; each run starts on an empty database with a group of its own. The rate is taken from the first
visible row to the last, so that start-up does not count; CPU seconds are the process's own (its children with it).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, func, select

from bench.events import produce, questions
from bench.processes import ROOT, Measured
from bench.servers import Servers, machine, servers
from local.ports import free_port
from schema.database import open_engine
from schema.producer import EventProducer
from schema.settings import Settings, environment
from schema.tables import intent_user_questions
from schema.topics import QUESTION_ASKED

QUIX = ("quixstreams==3.28.1", "sqlalchemy==2.1.9", "pymysql==1.2.4")
STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run took."""

    rate: float
    cpu_per_100k: float
    peak_mb: float


Start = Callable[[Settings, Path], list[Measured]]


def worker(number: int) -> Start:
    """`number` of our workers, everything on."""

    def start(settings: Settings, log: Path) -> list[Measured]:
        environs = (environment(settings.model_copy(update={"streams_port": free_port()})) for _ in range(number))
        return [Measured.intentloop("streams", environ, log) for environ in environs]

    return start


def module(name: str, python: str) -> Start:
    """One of the other loops."""

    def start(settings: Settings, log: Path) -> list[Measured]:
        arguments = (f"g{uuid.uuid4().hex[:8]}", QUESTION_ASKED.name(settings.topic_prefix))
        return [Measured([python, "-m", name, *arguments], environment(settings), log)]

    return start


def measure(start: Start, settings: Settings, total: int) -> Figures:
    """One run: `total` events of the topic into an empty database.

    Raises:
        RuntimeError: the process ended, or nothing came for a minute.
    """
    engine = open_engine(settings.database_url.get_secret_value(), pool_size=1)
    with ExitStack() as stack:
        started = [stack.enter_context(process) for process in start(settings, settings.var / "run.log")]
        first, cpu_first, at_first = _until(engine, lambda rows: rows > 0, started)
        _, cpu_last, at_last = _until(engine, lambda rows: rows >= total, started)
        peak = max(process.peak_mb() for process in started)
    engine.dispose()
    done = total - first
    return Figures(done / (at_last - at_first), 100_000 * (cpu_last - cpu_first) / done, peak)


def _until(engine: Engine, enough: Callable[[int], bool], started: Sequence[Measured]) -> tuple[int, float, float]:
    """Look at the table until it holds enough rows; returns how many, the CPU seconds so far, and the moment.

    The largest id is asked for, not the count: it costs nothing. Ids have no gaps here, as nothing is refused.
    """
    changed, before = time.monotonic(), -1
    while True:
        with engine.connect() as connection:
            rows = connection.execute(select(func.max(intent_user_questions.c.id))).scalar_one() or 0
        if enough(rows):
            return rows, sum(process.cpu_seconds() for process in started), time.monotonic()
        if rows != before:
            changed, before = time.monotonic(), rows
        if time.monotonic() - changed > STALLED_SECONDS:
            raise RuntimeError(f"nothing came for {STALLED_SECONDS:g} s at row {rows}: {started[0].log.read_text()[-2000:]}")
        for process in started:
            process.alive()
        time.sleep(0.02)  # the state of other processes: nothing to await


def quix_python() -> str:
    """The interpreter of an environment with Quix Streams, made at the first call."""
    folder = ROOT / "var" / "bench" / "quix"
    python = folder / "bin" / "python"
    if not python.exists():
        uv = [str(Path(sys.executable).with_name("uv"))]
        subprocess.run([*uv, "venv", "--quiet", str(folder)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *QUIX], check=True)
    return str(python)


def run(arguments: argparse.Namespace, console: Console, on: Servers) -> Table:
    """All rounds."""
    layout = on.system()
    with EventProducer(layout, source="bench") as producer, console.status(f"producing {arguments.events} events"):
        produce(producer, QUESTION_ASKED.name(layout.topic_prefix), questions(arguments.events))
    variants: dict[str, Start] = {
        "(a) our worker, everything on": worker(1),
        "(b) floor: bare loop, one insert": module("bench.floor", sys.executable),
    }
    if not arguments.without_quix:
        variants["(c) Quix Streams, batching sink"] = module("bench.quix", quix_python())
    if arguments.two:
        variants["(a) two workers"] = worker(2)
    found: dict[str, list[Figures]] = {name: [] for name in variants}
    for number in range(arguments.rounds):
        for name, start in variants.items():
            # the same topic for all: a worker's group carries the prefix, so each run needs its offsets reset: see below
            settings = on.system(layout.topic_prefix)
            found[name].append(measure(start, settings, arguments.events))
            reset_group(settings)
            console.print(f"round {number + 1}  {name}: {found[name][-1].rate:,.0f} events/s", highlight=False)
    return table(found)


def reset_group(settings: Settings) -> None:
    """Let the next worker read the topic from its beginning."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for future in admin.delete_consumer_groups([settings.group("streams")]).values():
        try:
            future.result(20)
        except KafkaException:
            continue  # the others have groups of their own


def table(found: dict[str, list[Figures]]) -> Table:
    """Medians and ratios."""
    rounds = len(next(iter(found.values())))
    shown = Table(title=f"Ingestion: medians of {rounds} interleaved rounds; {machine()}", title_justify="left")
    for heading in ("", "events/s", "CPU s / 100,000", "peak MB", "x (b)", "x (c)"):
        shown.add_column(heading, justify="left" if not heading else "right")
    rates = {name[:3]: statistics.median(f.rate for f in figures) for name, figures in found.items() if "two" not in name}
    for name, figures in found.items():
        rate = statistics.median(f.rate for f in figures)
        shown.add_row(
            name,
            f"{rate:,.0f}",
            f"{statistics.median(f.cpu_per_100k for f in figures):.1f}",
            f"{max(f.peak_mb for f in figures):.0f}",
            f"{rate / rates['(b)']:.2f}",
            f"{rate / rates['(c)']:.2f}" if "(c)" in rates else "",
        )
    return shown


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-quix", action="store_true", help="leave (c) out")
    parser.add_argument("--two", action="store_true", help="measure two workers too")
    console = Console(width=120)
    with servers() as on:
        console.print(run(parser.parse_args(), console, on))


if __name__ == "__main__":
    main()
