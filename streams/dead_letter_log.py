"""Reads the dead-letter topics to their present end, outside any consumer group: looking changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schema.errors import ConfigError, TransientError
from schema.producer import client_config
from schema.settings import Settings
from schema.topics import Topic
from streams.dead_letters import BURIED, Letter, Mark, Partition, gather, read_record

PATIENCE: Final = 15.0
"""Seconds without an answer from the broker."""
_PASSING: Final = frozenset(
    {
        *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART),
        *(KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT),
    }
)
"""Errors of a topic that is new, or of a broker that restarts. The client does not call all of them retriable."""

Progress = Callable[[int, int], None]
"""Called with how many records are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Box:
    """All dead letters of some topics, and the first and next offset of each partition that held something."""

    letters: list[Letter]
    spans: dict[Partition, tuple[int, int]]


def read_box(
    settings: Settings,
    topics: Sequence[Topic] = BURIED,
    *,
    keep_value: Callable[[Letter], bool] = lambda _: False,
    progress: Progress = lambda done, total: None,
) -> Box:
    """Every dead letter of `topics` that is there now, handled or not, in the order in which they died.

    Args:
        keep_value: for which of them the value stays in memory.

    Raises:
        ConfigError: a dead-letter topic is missing.
        TransientError: the broker does not answer.
    """

    def lean(record: Letter | Mark) -> Letter | Mark:
        return record if isinstance(record, Mark) or keep_value(record) else replace(record, value=None)

    by_name = {topic.dead_letter_name(settings.topic_prefix): topic for topic in topics}
    consumer = Consumer(
        client_config(settings)
        | {
            "group.id": settings.group("dead-letters"),  # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        spans = _spans(consumer, list(by_name))
        messages = _read(consumer, spans, progress)
        letters = gather(lean(read_record(m, by_name[m.topic() or ""], settings.topic_prefix)) for m in messages)
    except KafkaException as error:
        raise TransientError(
            f"Kafka at {settings.kafka} does not answer ({error.args[0].str()}): check INTENTLOOP_KAFKA, or try again later"
        ) from None
    finally:
        consumer.close()
    return Box(sorted(letters, key=lambda letter: letter.died_at), spans)


def _spans(consumer: Consumer, names: Sequence[str]) -> dict[Partition, tuple[int, int]]:
    """First and next offset of each partition that holds something."""
    present = consumer.list_topics(timeout=PATIENCE).topics
    if missing := sorted(set(names) - present.keys()):
        raise ConfigError(f"the topic {missing[0]} does not exist: run `intentloop migrate`, or set INTENTLOOP_TOPIC_PREFIX")
    spans = {}
    for name in names:
        for partition in present[name].partitions:
            low, high = _span(consumer, TopicPartition(name, partition))
            if low < high:
                spans[name, partition] = (low, high)
    return spans


def _span(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    give_up_at = time.monotonic() + PATIENCE
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=PATIENCE)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > give_up_at:
                raise
        time.sleep(0.1)  # a broker that is electing a leader: nothing to await


def _read(consumer: Consumer, spans: dict[Partition, tuple[int, int]], progress: Progress) -> Iterator[Message]:
    """What stands in `spans`, in order per partition."""
    unread = {where: high for where, (_, high) in spans.items()}
    consumer.assign([TopicPartition(*where, low) for where, (low, _) in spans.items()])
    total = sum(high - low for low, high in spans.values())
    done, answered = 0, time.monotonic()
    while unread:
        message = consumer.poll(0.5)  # consume() would wait for its whole timeout where there is little to read
        error = message and message.error()
        if message is None or (error and error.code() in _PASSING):
            if time.monotonic() - answered > PATIENCE:
                raise TransientError(f"Kafka does not answer, nothing came for {PATIENCE:.0f} s: try again later")
            continue
        answered = time.monotonic()
        where, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        if error:
            if error.code() == KafkaError._PARTITION_EOF:
                unread.pop(where, None)
            else:
                raise TransientError(f"{where[0]} cannot be read: {error.str()}")
        elif offset < unread.get(where, 0):
            done += 1
            yield message
            if offset == unread[where] - 1:
                del unread[where]
        if done % 500 == 0 or not unread:
            progress(done, total)
