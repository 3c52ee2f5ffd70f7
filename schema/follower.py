"""Read a topic, from its beginning or its end, and keep following it, outside any consumer group: everyone hears everything.

For compacted topics whose last value per key is a state: what serves, what the replicas report, keyword totals.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schema.envelope import Envelope, decode
from schema.errors import EventError, TransientError
from schema.events import Event
from schema.producer import client_config
from schema.settings import Settings
from schema.topics import Topic

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Event)
BUFFER_KBYTES: Final = 4096
"""What may lie fetched and unread: by default librdkafka takes 64 MB of a long topic."""


class Follower(Generic[E]):
    """A thread that gives every event of `topic` to `handle`, in order per partition; with `from_end` only new ones.

    `caught_up` is set once all that was there at the start has been handled, or passed by. While the broker is away the follower
    waits; librdkafka reconnects by itself. A record that cannot be read is logged and passed over: only our own
    processes write these topics.
    """

    def __init__(
        self, settings: Settings, topic: Topic, event: type[E], handle: Callable[[Envelope[E]], None], *, from_end: bool = False
    ) -> None:
        self.caught_up = threading.Event()
        self._topic = topic.name(settings.topic_prefix)
        self._partitions = topic.partitions
        self._event = event
        self._handle = handle
        self._begin = OFFSET_END if from_end else OFFSET_BEGINNING
        self._stopping = threading.Event()
        self._config = client_config(settings) | {
            "group.id": settings.group("follower"),  # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": BUFFER_KBYTES,
        }
        self._thread = threading.Thread(target=self._run, name=f"follow-{topic.stem}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def is_alive(self) -> bool:
        """Whether the thread reads."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raises `TransientError` while the state is not complete yet, or when the thread has died."""
        if not self.is_alive():
            raise TransientError(f"nothing reads {self._topic} any more")
        if not self.caught_up.is_set():
            raise TransientError(f"{self._topic} is not read to its end yet")

    def _run(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic, p, self._begin) for p in range(self._partitions)])
            unread = set(range(self._partitions))
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is None:
                    continue
                if error := message.error():
                    if error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(message.partition())
                        if not unread:
                            self.caught_up.set()
                    else:
                        log.warning("cannot read %s: %s", self._topic, error.str())
                    continue
                self._give(message)
        except KafkaException:
            log.exception("stopped reading %s", self._topic)
        finally:
            consumer.close()

    def _give(self, message: Message) -> None:
        try:
            self._handle(decode(self._event, message.value()))
        except EventError as error:
            if error.reason != "tombstone":
                log.error("passed over a record of %s at offset %s: %s", self._topic, message.offset(), error)
