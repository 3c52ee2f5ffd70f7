"""How long an event takes at a steady rate: produced -> row visible, label posted -> ``label.applied``; and a burst.

``python -m bench.latency``. The processes are real: streams, trainer (for the relay) and api, on embedded servers. The labels
start no training: it would take a core for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from aiohttp import ClientSession
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, select

from bench.events import questions
from bench.processes import Measured
from bench.servers import Servers, machine, servers
from consumers.registry import register_builtin
from intentloop import BUILTIN
from local.supervisor import is_ready
from schema.database import open_engine
from schema.envelope import CONTENT_TYPE, Envelope, encode, wrap
from schema.events import LabelApplied, QuestionAsked
from schema.follower import Follower
from schema.ids import uuid7
from schema.producer import EventProducer
from schema.settings import Settings, environment
from schema.tables import intent_user_questions
from schema.topics import LABEL_APPLIED, QUESTION_ASKED

LABELS_PER_SECOND = 20


@dataclass
class Seen:
    """When each thing was produced and when it was seen, by ``time.monotonic``."""

    produced: dict[bytes, float] = field(default_factory=dict)
    visible: dict[bytes, float] = field(default_factory=dict)
    ids: dict[bytes, int] = field(default_factory=dict)

    def milliseconds(self) -> list[float]:
        """The latencies."""
        return [1000 * (self.visible[key] - at) for key, at in self.produced.items()]


class Viewer:
    """Looks for new rows, as often as it can."""

    def __init__(self, engine: Engine, seen: Seen) -> None:
        self.stopping = threading.Event()
        self._engine = engine
        self._seen = seen
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = 0
        table = intent_user_questions.c
        while not self.stopping.is_set():
            with self._engine.connect() as connection:
                found = connection.execute(select(table.id, table.event_id).where(table.id > last).order_by(table.id)).all()
            now = time.monotonic()
            for number, key in found:
                self._seen.visible[key], self._seen.ids[key], last = now, number, number
            time.sleep(0.003)  # another server's state: nothing to await

    def stop(self) -> None:
        """End it."""
        self.stopping.set()
        self._thread.join()


def produce(producer: EventProducer, settings: Settings, asked: QuestionAsked, seen: Seen) -> Future[None]:
    """Send one question now."""
    key = uuid7()
    seen.produced[key.bytes] = time.monotonic()
    value = encode(wrap(asked, source="bench", event_id=str(key)))
    headers = [("content-type", CONTENT_TYPE.encode())]
    name = QUESTION_ASKED.name(settings.topic_prefix)
    return producer.send_raw(name, value, key=(asked.user_id or "").encode(), headers=headers)


async def steady(
    settings: Settings, engine: Engine, asked: Iterator[QuestionAsked], rate: int, seconds: float
) -> tuple[Seen, list[float]]:
    """Events at `rate`, and labels of what is stored; returns what was seen, and the labels' latencies in milliseconds."""
    seen, labels = Seen(), Labels(settings)
    viewer = Viewer(engine, seen)
    with EventProducer(settings, source="bench") as producer:
        async with ClientSession() as http:
            await asyncio.wrap_future(produce(producer, settings, next(asked), Seen()))  # connects: not what is measured
            began = time.monotonic()
            for number in range(int(rate * seconds)):
                produce(producer, settings, next(asked), seen)
                if number and number % (rate // LABELS_PER_SECOND) == 0:
                    known = next(reversed(seen.ids.values()), None)
                    if known is not None:
                        labels.post(http, known)
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
            await labels.finish()
    await until(lambda: seen.produced.keys() <= seen.visible.keys(), 60)
    viewer.stop()
    return seen, labels.milliseconds


class Labels:
    """Labels posted over HTTP, and when their ``label.applied`` came."""

    def __init__(self, settings: Settings) -> None:
        self.milliseconds: list[float] = []
        self._url = f"http://127.0.0.1:{settings.api_port}/api/v1/model-tuning/questions"
        self._posted: dict[int, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._follower = Follower(settings, LABEL_APPLIED, LabelApplied, self._applied)
        self._follower.start()

    def post(self, http: ClientSession, question_id: int) -> None:
        """Label a question that has none yet."""
        if question_id not in self._posted:
            self._posted[question_id] = time.monotonic()
            self._tasks.append(asyncio.create_task(self._post(http, question_id)))

    async def _post(self, http: ClientSession, question_id: int) -> None:
        body = {"correct_intent": ["wealth"], "labeler_id": "bench"}
        async with http.post(f"{self._url}/{question_id}/label", json=body) as answer:
            assert answer.status == 202, await answer.text()

    def _applied(self, envelope: Envelope[LabelApplied]) -> None:
        if (posted := self._posted.get(envelope.data.question_id)) is not None:  # else it is of the warm-up
            self.milliseconds.append(1000 * (time.monotonic() - posted))

    async def finish(self) -> None:
        """Wait until every label posted is applied."""
        await asyncio.gather(*self._tasks)
        await until(lambda: len(self.milliseconds) >= len(self._posted), 30)
        await asyncio.to_thread(self._follower.stop)


async def burst(settings: Settings, engine: Engine, asked: Iterator[QuestionAsked], number: int) -> tuple[float, int]:
    """`number` events at once; returns the seconds until all are visible, and how many pairs of one user's are out of order."""
    seen, order = Seen(), defaultdict(list)
    viewer = Viewer(engine, seen)
    with EventProducer(settings, source="bench") as producer:
        began = time.monotonic()
        for one in itertools.islice(asked, number):
            produce(producer, settings, one, seen)
            order[one.user_id].append(next(reversed(seen.produced)))
    await until(lambda: seen.produced.keys() <= seen.visible.keys(), 120)
    taken = max(seen.visible[key] for key in seen.produced) - began
    viewer.stop()
    wrong = sum(seen.ids[a] > seen.ids[b] for keys in order.values() for a, b in itertools.pairwise(keys))
    return taken, wrong


async def until(holds: object, seconds: float) -> None:
    """Look until `holds()`."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("the system did not get there in time")
        await asyncio.sleep(0.02)


async def run(on: Servers, arguments: argparse.Namespace) -> Table:
    """The measurement."""
    settings = on.system().model_copy(update={"train_threshold": 10**6})
    engine = open_engine(settings.database_url.get_secret_value())
    register_builtin(settings, engine, BUILTIN)
    asked = iter(list(questions(int(arguments.rate * arguments.seconds) + arguments.burst + 2000)))
    ports = {"streams": settings.streams_port, "trainer": settings.trainer_port, "api": settings.api_port}
    with ExitStack() as stack:
        for name in ports:
            stack.enter_context(Measured.intentloop(name, environment(settings), settings.var / f"{name}.log"))
        for port in ports.values():
            await until(lambda port=port: is_ready(f"http://127.0.0.1:{port}") or None, 60)
        await steady(settings, engine, asked, arguments.rate, 2)  # warm
        seen, labels = await steady(settings, engine, asked, arguments.rate, arguments.seconds)
        taken, wrong = await burst(settings, engine, asked, arguments.burst)
    engine.dispose()
    table = Table(title=f"Latency; {machine()}", title_justify="left")
    for heading in ("", "number", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, found in (
        (f"produced -> row visible, {arguments.rate}/s", seen.milliseconds()),
        ("label posted -> label.applied", labels),
    ):
        table.add_row(name, str(len(found)), f"{statistics.median(found):.0f}", f"{np.percentile(found, 99):.0f}")
    table.add_row(f"burst of {arguments.burst}: drained in {taken:.1f} s; out of order per user: {wrong}", "", "", "")
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--burst", type=int, default=50_000)
    with servers() as on:
        Console(width=120).print(asyncio.run(run(on, parser.parse_args())))


if __name__ == "__main__":
    main()
