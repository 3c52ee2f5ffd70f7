"""What millions of stored questions cost: the ingest rate, and how long three GETs take. ``python -m bench.growth``.

The worker ingests the same number of events into an empty database and into a full one, in turns, in one run; rates are taken
from the first visible row to the last. Then the api process is asked, one request after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.events import produce, questions
from bench.history import grow
from bench.processes import Measured
from bench.servers import Servers, machine, servers
from schema.database import open_engine
from schema.producer import EventProducer
from schema.rollups import TOTAL, read
from schema.settings import Settings, environment
from schema.tables import intent_user_questions
from schema.topics import QUESTION_ASKED
from streams.rollups import recount

PREFIX = "/api/v1/model-tuning"
PATHS = (
    "/questions/unlabeled?limit=100",
    "/questions/unlabeled?limit=100&strategy=newest",
    "/questions/unlabeled?limit=100&strategy=oldest",
    "/questions/unlabeled?limit=100&strategy=random",
    "/stats",
    "/keywords/counts?limit=100",
    "/keywords/counts?limit=100&window=hour",
    "/keywords/counts?limit=100&window=day",
    "/keywords/counts?limit=100&window=week",
    "/keywords/counts?limit=100&window=trend",
)
LONG = 3600.0
STALLED_SECONDS = 60.0


@contextmanager
def patient(settings: Settings) -> Iterator[Engine]:
    """An engine that waits for statements over millions of rows."""
    engine = open_engine(settings.database_url.get_secret_value(), pool_size=1, timeout=LONG)
    yield engine
    engine.dispose()


def stored(engine: Engine) -> int:
    """Stored questions, from the rollup: a count would read them all."""
    with engine.connect() as connection:
        return read(connection).get(TOTAL, 0)


def ingest(settings: Settings, number: int, seed: int) -> float:
    """Events a second that a worker stores of `number` fresh ones.

    Raises:
        RuntimeError: the worker ended, or nothing came for a minute.
    """
    with EventProducer(settings, source="bench") as producer:
        produce(producer, QUESTION_ASKED.name(settings.topic_prefix), questions(number, seed=seed))
    with (
        patient(settings) as engine,
        Measured.intentloop("streams", environment(settings), settings.var / "streams.log") as worker,
    ):
        before = rows = stored(engine)
        first = began = ended = 0.0
        changed = time.monotonic()
        while rows < before + number:
            now, seen = time.monotonic(), stored(engine)
            if seen > rows:
                changed = ended = now
                if not first:
                    first, began = seen, now
                rows = seen
            worker.alive()
            if now - changed > STALLED_SECONDS:
                raise RuntimeError(f"nothing came for {STALLED_SECONDS:g} s: {worker.log.read_text()[-2000:]}")
            time.sleep(0.01)  # the state of another process: nothing to await
    return (rows - first) / (ended - began)


def settle(engine: Engine) -> None:
    """Wait until the server has written what the load left behind, so that the rounds do not pay for it."""
    with engine.connect() as connection:
        connection.execute(text("SET GLOBAL innodb_max_dirty_pages_pct = 0"))
        while True:
            status = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")).one()
            if int(status[1]) < 500:
                break
            time.sleep(0.5)  # the server's own pace
        connection.execute(text("SET GLOBAL innodb_max_dirty_pages_pct = 90"))


def ask(settings: Settings, path: str, times: int) -> list[float]:
    """Milliseconds of each of `times` requests."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.api_port}{PREFIX}{path}", timeout=60) as answer:
            answer.read()
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def wait_ready(settings: Settings, api: Measured) -> None:
    """Until the api answers."""
    while True:
        api.alive()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.api_port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)  # the state of another process: nothing to await


def run(arguments: argparse.Namespace, console: Console, on: Servers) -> tuple[Table, Table]:
    """Load, ingest in turns, ask."""
    full = on.system()
    console.print(f"originals: {ingest(full, arguments.events, seed=0):,.0f} events/s into an empty database", highlight=False)
    began = time.monotonic()
    with patient(full) as engine:
        with console.status("loading") as status:
            grow(engine, arguments.rows, lambda there: status.update(f"loading: {there:,} rows"))
        settle(engine)
        rows = stored(engine)
        size = data_size(engine)
    console.print(f"loaded {rows:,} rows, {size}, in {time.monotonic() - began:.0f} s", highlight=False)
    rates: dict[str, list[float]] = {"empty": [], "full": []}
    for number in range(arguments.rounds):
        order = ("empty", "full") if number % 2 == 0 else ("full", "empty")
        for name in order:
            settings = full if name == "full" else on.system()
            rates[name].append(ingest(settings, arguments.events, seed=number + 1))
            console.print(f"round {number + 1}  {name}: {rates[name][-1]:,.0f} events/s", highlight=False)
    with Measured.intentloop("api", environment(full), full.var / "api.log") as api:
        wait_ready(full, api)
        asked = {path: ask(full, path, arguments.requests) for path in PATHS}
    if arguments.check:
        with patient(full) as engine, engine.connect() as connection:
            console.print("rollups = recount:", read(connection) == recount(connection))
    return ingest_table(rates, rows), request_table(asked, rows)


def data_size(engine: Engine) -> str:
    """The table's data and indexes in GB, by the server's own estimate."""
    sql = "SELECT data_length, index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :name"
    with engine.connect() as connection:
        data, indexes = connection.execute(text(sql), {"name": intent_user_questions.name}).one()
    return f"{data / 1e9:.2f} GB of data and {indexes / 1e9:.2f} GB of indexes"


def ingest_table(rates: dict[str, list[float]], rows: int) -> Table:
    """Medians and their ratio."""
    empty, full = statistics.median(rates["empty"]), statistics.median(rates["full"])
    title = f"Growth: medians of {len(rates['full'])} rounds in turns; {machine()}"
    table = Table("rows stored before", "events/s", "of empty", title=title, title_justify="left")
    table.add_row("0", f"{empty:,.0f}", "1.00")
    table.add_row(f"{rows:,}", f"{full:,.0f}", f"{full / empty:.2f}")
    return table


def request_table(asked: dict[str, list[float]], rows: int) -> Table:
    """p50 and p95 of every path."""
    title = f"Requests with {rows:,} rows, one after the other, {len(next(iter(asked.values())))} of each"
    table = Table("GET", "p50 ms", "p95 ms", "max ms", title=title, title_justify="left")
    for path, times in asked.items():
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        table.add_row(path, f"{p50:.1f}", f"{p95:.1f}", f"{max(times):.1f}")
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--events", type=int, default=40_000, help="of one measurement of the ingest rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--check", action="store_true", help="compare the rollups with a recount at the end")
    arguments = parser.parse_args()
    console = Console(width=120)
    with servers() as on:
        for table in run(arguments, console, on):
            console.print(table)


if __name__ == "__main__":
    main()
