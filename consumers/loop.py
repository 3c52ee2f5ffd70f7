"""A consumer loop: poll, decode, act, then commit. What is bad is dead-lettered, what may pass is tried again."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from prometheus_client import Counter

from schema.dead_letters import Origin, dead_letter
from schema.envelope import Envelope, Headers, decode
from schema.errors import EventError, TransientError
from schema.events import Event
from schema.producer import EventProducer, client_config
from schema.settings import Settings
from schema.topics import Topic
from schema.tracing import log_fields

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Event)
HANDLED = Counter("intentloop_consumer_events", "events by loop and what became of them", ["loop", "outcome"])
LONGEST_PAUSE = 5.0


class Loop(Generic[E]):
    """Reads `topic` in the group `name`; an offset is committed once `handle` has returned for it.

    `handle` runs in the loop's thread. While it runs long it must call `keep_alive` at least every few minutes, or the
    broker gives the partition to another. `on_assigned` runs in the loop's thread, after partitions came and before the
    first of their events.

    `handle` raises:
        EventError: the event goes to the dead-letter topic, and the loop goes on.
        TransientError: the same event is tried again after a pause, and nothing is committed.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        topic: Topic,
        event: type[E],
        handle: Callable[[Envelope[E]], None],
        *,
        producer: EventProducer,
        on_assigned: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.stopping = threading.Event()
        self.assigned = threading.Event()
        self._topic = topic
        self._prefix = settings.topic_prefix
        self._pseudonym_key = settings.pseudonym_key.get_secret_value()
        self._event = event
        self._handle = handle
        self._producer = producer
        self._on_assigned = on_assigned
        self._greet = False
        self._consumer = Consumer(
            client_config(settings)
            | {
                "group.id": settings.group(name),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": int(settings.session_timeout * 1000),
                "heartbeat.interval.ms": int(settings.session_timeout * 200),
            }
        )

    def run(self) -> None:
        """Work until `stopping` is set; then leave the group, so that another takes over at once."""
        self._consumer.subscribe(
            [self._topic.name(self._prefix)], on_assign=self._assign, on_lost=self._lose, on_revoke=self._lose
        )
        try:
            while not self.stopping.is_set():
                message = self._consumer.poll(0.2)
                if self._greet and self._on_assigned is not None:
                    self._greet = False
                    self._try(self._on_assigned)
                if message is not None and self._usable(message):
                    self._process(message)
        finally:
            self._consumer.close()

    def keep_alive(self) -> None:
        """Poll while a long piece of work runs: no event is taken, the membership lives on."""
        assigned = self._consumer.assignment()
        self._consumer.pause(assigned)
        message = self._consumer.poll(0)
        if message is not None and not message.error():
            self._consumer.seek(_position(message))  # fetched before the pause took effect: it must come again
        if self._consumer.assignment() == assigned:
            self._consumer.resume(assigned)

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned.set()
        self._greet = bool(partitions)

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("%s: %d partitions went to others", self.name, len(partitions))

    def _usable(self, message: Message) -> bool:
        if error := message.error():
            log.warning("%s: %s", self.name, error.str())
            return False
        return True

    def _process(self, message: Message) -> None:
        headers = _headers(message)

        def act() -> None:
            self._handle(decode(self._event, message.value(), headers))

        try:
            done = self._try(act)
            HANDLED.labels(self.name, "done").inc()
        except EventError as error:
            done = self._try(partial(self._bury, message, headers, error))
            HANDLED.labels(self.name, "dead_lettered").inc()
        if done:
            self._commit(message)

    def _try(self, act: Callable[[], None]) -> bool:
        """Do `act` until it works; False where the loop was stopped meanwhile."""
        pause = 0.05
        while not self.stopping.is_set():
            try:
                act()
                return True
            except TransientError as error:
                log.warning("%s: trying again: %s", self.name, error)
            self.keep_alive()
            self.stopping.wait(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        return False

    def _bury(self, message: Message, headers: Headers, error: EventError) -> None:
        origin = Origin(message.topic() or "", message.partition() or 0, message.offset() or 0, self.name, message.timestamp()[1])
        key, value = _bytes(message.key()), _bytes(message.value())
        trace = "".join(traceback.format_exception(error))
        letter = dead_letter(
            origin, key, value, headers, error, stage="VALUE_CONVERTER", trace=trace, pseudonym_key=self._pseudonym_key
        )
        name = self._topic.dead_letter_name(self._prefix)
        self._producer.send_raw(
            name, letter.value, key=letter.key, headers=letter.headers, timestamp_ms=letter.timestamp_ms
        ).result(60)
        log.warning("%s: dead-lettered %s: %s", self.name, origin, error, extra=log_fields(value, headers))

    def _commit(self, message: Message) -> None:
        try:
            self._consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:  # it is done; the event comes again, and its repeat changes nothing
            log.warning("%s: the offset was not committed: %s", self.name, error)


def _position(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0)


def _headers(message: Message) -> Headers:
    given = message.headers() or []
    pairs = given.items() if isinstance(given, dict) else given
    return [(name, value) for name, value in pairs if isinstance(value, bytes)]


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
