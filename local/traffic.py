"""Traffic for the demo: users who ask the sample fortune API at a steady rate, some of them twice, and a broken upstream."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from aiohttp import ClientError, ClientSession

from schema.ids import uuid7
from schema.producer import EventProducer
from schema.taxonomy import Intent
from schema.topics import QUESTION_ASKED

QUESTIONS_FILE: Final = Path(__file__).with_name("demo_questions.jsonl")
REPEATED_SHARE: Final = 0.02
USERS: Final = 400
BROKEN: Final = (
    b"{not json",
    b'"a string"',
    None,
    b"\xff\xfe",
    b'{"specversion":"1.0","id":"x","source":"s","type":"other","data":{}}',
)


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question of the demo, and what a person would label it."""

    question: str
    intents: list[Intent]


def demo_questions() -> list[DemoQuestion]:
    """The labelled questions of the demo, in a fixed shuffled order."""
    lines = QUESTIONS_FILE.read_text(encoding="utf-8").splitlines()
    found = [DemoQuestion(**json.loads(line)) for line in lines]
    random.Random(7).shuffle(found)
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the fortune API: when it began (Unix seconds), how long it took, and whether it was answered."""

    began: float
    milliseconds: float
    ok: bool


@dataclass(slots=True)
class Traffic:
    """Asks `questions` over and over, `rate` a second, whatever the answers take.

    Attributes:
        sent: the ids of the events that the broker has, in order; repeats stand twice.
        requests: every request that has ended.
    """

    http: ClientSession
    url: str
    questions: Sequence[DemoQuestion]
    rate: float
    sent: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Ask until `stopping` is set; returns when every answer is there."""
        chance = random.Random(11)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, body in enumerate(self._bodies(chance)):
                tasks.create_task(self._ask(body, repeat=chance.random() < REPEATED_SHARE))
                pause = began + (number + 1) / self.rate - time.monotonic()
                try:
                    await asyncio.wait_for(self.stopping.wait(), max(0.0, pause))
                    return
                except TimeoutError:
                    continue

    def _bodies(self, chance: random.Random) -> Iterator[dict[str, object]]:
        for asked in itertools.cycle(self.questions):
            said = chance.random()
            consent = said < 0.97 if said < 0.99 else None
            yield {"question": asked.question, "user_id": f"user-{chance.randrange(USERS)}", "consent": consent}

    async def _ask(self, body: dict[str, object], *, repeat: bool) -> None:
        key = str(uuid7())
        for _ in range(1 + repeat):
            began, clock = time.time(), time.perf_counter()
            ok = False
            try:
                async with self.http.post(f"{self.url}/ask", json=body, headers={"Idempotency-Key": key}) as answer:
                    said = await answer.json()
                    ok = answer.status == 200
                    if "event_id" in said:
                        self.sent.append(said["event_id"])
            except (ClientError, TimeoutError):
                pass
            self.requests.append(Request(began, 1000 * (time.perf_counter() - clock), ok))


def send_broken(producer: EventProducer, prefix: str) -> int:
    """What a badly written upstream sends; returns how many records."""
    topic = QUESTION_ASKED.name(prefix)
    for done in [producer.send_raw(topic, value, key=b"broken") for value in BROKEN]:
        done.result(30)
    return len(BROKEN)


def summary(requests: Sequence[Request]) -> dict[str, float]:
    """Total, failed, and p50 and p99 in milliseconds."""
    times = [request.milliseconds for request in requests]
    return {
        "total": len(requests),
        "failed": sum(not request.ok for request in requests),
        "p50_ms": round(float(np.percentile(times, 50)), 1) if times else 0.0,
        "p99_ms": round(float(np.percentile(times, 99)), 1) if times else 0.0,
    }
