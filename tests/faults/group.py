"""The workers' consumer group as the broker sees it: what is acknowledged, what is not, and how to go back."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schema.producer import client_config
from schema.settings import Settings
from schema.topics import QUESTION_ASKED, QUESTION_LABELED, Topic

READ = (QUESTION_ASKED, QUESTION_LABELED)


class Group:
    """Asks the broker; joins nothing."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.group("streams")
        self._prefix = settings.topic_prefix
        self._config = client_config(settings)
        self._consumer = Consumer(self._config | {"group.id": self.name, "enable.auto.commit": False})

    def committed(self, topics: Sequence[Topic] = READ) -> dict[tuple[str, int], int]:
        """The committed offset of each partition that has one."""
        parts = self._consumer.committed(self._partitions(topics), timeout=20)
        return {(part.topic, part.partition): part.offset for part in parts if part.offset >= 0}

    def ends(self, topics: Sequence[Topic] = READ) -> dict[tuple[str, int], int]:
        """The end of each partition that holds anything."""
        found = {}
        for part in self._partitions(topics):
            _, end = self._consumer.get_watermark_offsets(part, timeout=20)
            if end:
                found[part.topic, part.partition] = end
        return found

    def lag(self, ends: dict[tuple[str, int], int]) -> int:
        """How many records before `ends` are not acknowledged."""
        committed = self.committed()
        return sum(max(0, end - committed.get(part, 0)) for part, end in ends.items())

    def rewind(self, back: int | None = None) -> bool:
        """Put the group `back` records back in each partition, or to the beginning.

        False while it still has members, or where the broker does not answer: ask again.
        """
        parts = [
            TopicPartition(topic, number, 0 if back is None else max(0, offset - back))
            for (topic, number), offset in self.committed().items()
        ]
        wanted = [ConsumerGroupTopicPartitions(self.name, parts)]
        admin = AdminClient(self._config)  # a fresh one: librdkafka's do not survive every restart of the broker
        try:
            for done in admin.alter_consumer_group_offsets(wanted, request_timeout=5.0).values():
                done.result(10)
        except (KafkaException, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()

    def _partitions(self, topics: Sequence[Topic]) -> list[TopicPartition]:
        return [TopicPartition(topic.name(self._prefix), n) for topic in topics for n in range(topic.partitions)]
