"""What goes into the topics: questions, at once or at a steady rate, and labels for what is stored meanwhile."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from confluent_kafka import KafkaError, Message, Producer
from sqlalchemy import Engine, select

from schema.envelope import encode, wrap
from schema.events import QuestionLabeled
from schema.producer import client_config
from schema.settings import Settings
from schema.tables import intent_user_questions as questions
from schema.taxonomy import INTENTS, NON_FORTUNE
from schema.topics import QUESTION_ASKED, QUESTION_LABELED
from tests.faults.traffic import HEADERS, Record, Traffic

LARGEST: Final = 8 * 1024 * 1024
ROUND_SECONDS: Final = 0.25
PER_ROUND: Final = 10


class Feed:
    """Sends records to one topic and knows whether the broker has taken every one."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        self.sent = 0
        self._refused: list[str] = []
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": LARGEST,
                "queue.buffering.max.messages": 500_000,
            }
        )

    def send(self, record: Record) -> None:
        """Send `record`; waits while the producer's buffer is full."""
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    record.value,
                    record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    on_delivery=self._report,
                )
            except BufferError:
                self._producer.poll(0.2)
                continue
            self.sent += 1
            return

    def serve(self) -> None:
        """Hear what the broker has said so far."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has all of it."""
        left = self._producer.flush(90)
        assert not left, f"{left} records were never taken by the broker"
        assert not self._refused, f"the broker refused {len(self._refused)} records: {self._refused[0]}"

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused.append(error.str())


class Load:
    """The questions: `send` some at once, or `start` a steady stream and `finish` it later."""

    def __init__(self, settings: Settings, traffic: Traffic) -> None:
        self.traffic = traffic
        self._feed = Feed(settings, QUESTION_ASKED.name(settings.topic_prefix))
        self._records: Iterator[Record] = iter(traffic)
        self._enough = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._stream: Future[None] | None = None

    @property
    def sent(self) -> int:
        """How many records were sent."""
        return self._feed.sent

    def send(self, number: int) -> None:
        """Send `number` records as fast as the broker takes them; returns when it has them."""
        for record in islice(self._records, number):
            self._feed.send(record)
        self._feed.flush()

    def start(self, rate: float) -> None:
        """Send `rate` records a second until `finish`."""
        self._stream = self._thread.submit(self._run, rate)

    def finish(self, at_least: int = 0) -> None:
        """End the stream, and send what is missing to `at_least` in all; returns when the broker has everything."""
        self.close()
        if self._stream is not None:
            self._stream.result()
        self.send(max(0, at_least - self.sent))

    def close(self) -> None:
        """End the stream, whatever became of it."""
        self._enough.set()
        self._thread.shutdown()

    def _run(self, rate: float) -> None:
        began, number = time.monotonic(), 0
        while not self._enough.is_set():
            for record in islice(self._records, max(1, int(rate / 50))):
                self._feed.send(record)
                number += 1
            self._feed.serve()
            self._enough.wait(max(0.0, began + number / rate - time.monotonic()))


class Labeler:
    """Labels stored, consented questions while the worker runs: some labels twice, some questions again, some nonsense.

    Args:
        engine: the database itself, not by way of a proxy: a labeler works on while the worker's database is away.
        want: how many questions to label, at least.

    Attributes:
        poison: the keys of the labels that can never be applied.
        questions: how many questions were labelled.
    """

    def __init__(self, settings: Settings, engine: Engine, *, seed: int, want: int) -> None:
        self.poison: set[bytes] = set()
        self.questions = 0
        self._engine = engine
        self._chance = random.Random(seed)
        self._want = want
        self._feed = Feed(settings, QUESTION_LABELED.name(settings.topic_prefix))
        self._last = 0
        self._again: list[int] = []
        self._enough = threading.Event()
        self._abandoned = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="labeler")
        self._work: Future[None] | None = None

    def start(self) -> None:
        """Begin to label."""
        self._work = self._thread.submit(self._run)

    def label(self, question: int, intents: Sequence[str], *, by: str) -> None:
        """Send one label of a test's own; returns when the broker has it."""
        self._feed.send(self._record(question, intents, by))
        self._feed.flush()

    def finish(self) -> None:
        """Label until enough is labelled, then end; returns when the broker has every label."""
        self._enough.set()
        if self._work is not None:
            self._work.result(60)
        self._feed.flush()

    def close(self) -> None:
        """End, whatever is still to be labelled."""
        self._enough.set()
        self._abandoned.set()
        self._thread.shutdown()

    def _run(self) -> None:
        self._send_poison()
        while not (self._enough.is_set() and self.questions >= self._want) and not self._abandoned.is_set():
            self._round()
            # once the test waits only for the labels there is no reason to spread them; once there are enough, few will do
            pause = ROUND_SECONDS if self.questions < self._want else 10 * ROUND_SECONDS
            (self._abandoned if self._enough.is_set() else self._enough).wait(pause)

    def _round(self) -> None:
        for question in self._again:
            self._label(question, takes_back=self._chance.choice((None, None, "last", "last", "all")))
        self._again.clear()
        q = questions.c
        waiting = select(q.id, q.consent_training).where(q.id > self._last).order_by(q.id).limit(2 * PER_ROUND)
        with self._engine.connect() as connection:
            found = list(connection.execute(waiting))
        for question, consented in found:
            self._last = question
            if not consented:
                self._refused("no-consent", question)
                continue
            self.questions += 1
            self._label(question)
            if self._chance.random() < 0.3:
                self._again.append(question)
        self._feed.serve()

    def _label(self, question: int, takes_back: str | None = None) -> None:
        chance = self._chance
        intents = chance.sample([i for i in INTENTS if i != NON_FORTUNE], chance.choice((1, 1, 1, 2, 3)))
        record = self._record(question, intents if chance.random() < 0.95 else [NON_FORTUNE], takes_back=takes_back)
        self._feed.send(record)
        if chance.random() < 0.1:
            self._feed.send(record)

    def _record(self, question: int, intents: Sequence[str], by: str = "ann", takes_back: str | None = None) -> Record:
        data = {"question_id": question, "correct_intent": intents, "labeler_id": by, "labeled_at": datetime.now(UTC)}
        data["takes_back"] = takes_back
        identity = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        event = wrap(QuestionLabeled.model_validate(data), source="tests/faults", event_id=identity)
        return Record(str(question).encode(), encode(event), HEADERS)

    def _send_poison(self) -> None:
        wrong = {"specversion": "1.0", "id": "1", "source": "s", "type": "com.intentloop.question.labeled.v1", "data": {}}
        values = {"tombstone": None, "broken": b"{", "not-utf8": b"\xff", "wrong": json.dumps(wrong).encode()}
        for name, value in values.items():
            self._send_bad(name, value)
        self._refused("unknown", 10**15)

    def _refused(self, name: str, question: int) -> None:
        """Once per `name`: a label that is well formed, and that the database knows to be wrong."""
        if f"poison-label-{name}".encode() not in self.poison:
            self._send_bad(name, self._record(question, ["wealth"]).value)

    def _send_bad(self, name: str, value: bytes | None) -> None:
        key = f"poison-label-{name}".encode()
        self.poison.add(key)
        self._feed.send(Record(key, value, HEADERS))
