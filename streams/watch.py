"""Lag, and whether it shrinks: what /metrics and /readyz tell of a worker, and the end of one that stands still.

Asked of the broker, not of Faust: a consumer that has silently stopped knows neither its lag nor that it has stopped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import Gauge

from schema.errors import TransientError
from schema.producer import client_config
from schema.settings import Settings
from streams.agents import end_by_force_later
from streams.lanes import Lane

log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 2.5
BROKER_SECONDS: Final = 10.0

LAG = Gauge("kafka_consumergroup_group_lag", "records behind the end of the partition", ["group", "topic", "partition"])
LAG_SECONDS = Gauge(
    "kafka_consumergroup_group_lag_seconds", "age of the first record not committed", ["group", "topic", "partition"]
)
OLDEST = Gauge("intentloop_stream_oldest_unacked_seconds", "age of the oldest batch that is not acked", ["agent"])

Partition = tuple[str, int]


@dataclass(slots=True)
class Progress:
    """What is known of one partition. Times are ``time.monotonic`` seconds.

    Attributes:
        ends: when the partition's end was first seen at which offset, not older than what is committed.
        stands_since: since when the committed offset has stood still behind the end; None where it has not.
        moved_at: when it was last seen to have moved.
    """

    committed: int = -1
    lag: int = 0
    ends: deque[tuple[float, int]] = field(default_factory=deque)
    stands_since: float | None = None
    moved_at: float | None = None

    def saw(self, committed: int, end: int, now: float) -> None:
        """Take one look: the committed offset (0 where none is) and the end offset."""
        moved = committed != self.committed
        if moved and self.committed >= 0:
            self.moved_at = now
        self.committed, self.lag = committed, max(0, end - committed)
        if not self.ends or end > self.ends[-1][1]:
            self.ends.append((now, end))
        while self.ends and self.ends[0][1] <= committed:
            self.ends.popleft()
        if moved or not self.lag:
            self.stands_since = None
        elif self.stands_since is None:
            self.stands_since = now

    def lag_seconds(self, now: float) -> float:
        """For how long there has been something that is not committed."""
        return now - self.ends[0][0] if self.ends else 0.0


class Watch:
    """Looks every few seconds; `check` is the readiness check, `run` ends the app when it stands still.

    Args:
        app: the Faust app.
        lanes: by agent.
        database_answers: raises `TransientError` while the database is away: then the retries decide when to give up.
    """

    def __init__(self, settings: Settings, app: Any, lanes: Mapping[str, Lane], database_answers: Callable[[], None]) -> None:
        self._app = app
        self._lanes = lanes
        self._database_answers = database_answers
        self._group = settings.group("streams")
        self._patience = settings.stall_patience
        self._consumer = Consumer(client_config(settings) | {"group.id": self._group, "enable.auto.commit": False})
        self._partitions: dict[Partition, Progress] = {}

    def check(self) -> None:
        """Raises `TransientError` where a partition has stood still for too long."""
        if standing := self._standing(time.monotonic()):
            raise TransientError(f"lag, but nothing committed for {self._patience:g} s: {', '.join(standing)}")

    async def run(self) -> None:
        """Look until cancelled; crash the app once it stands still while the database answers."""
        try:
            await self._run()
        except Exception as mistake:  # any mistake of ours: without a watch nobody would see the worker stand still
            log.exception("the watch cannot go on")
            end_by_force_later()
            await self._app.crash(mistake)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name, lane in self._lanes.items():
                OLDEST.labels(name).set(time.monotonic() - lane.oldest if lane.oldest is not None else 0.0)
            try:
                mine = {(tp.topic, tp.partition) for tp in self._app.consumer.assignment()}
                found = await loop.run_in_executor(None, partial(self._look, mine))
                self._take(found, time.monotonic())
                self.check()
            except KafkaException as error:
                log.warning("the broker does not tell the lag: %s", error)
            except TransientError as stalled:
                await self._end(loop, stalled)

    async def _end(self, loop: asyncio.AbstractEventLoop, stalled: TransientError) -> None:
        try:
            await loop.run_in_executor(None, self._database_answers)
        except TransientError:
            return
        log.critical("%s: ending, so that a new worker starts", stalled)
        end_by_force_later()
        await self._app.crash(stalled)

    def _look(self, mine: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """Committed and end offset of each partition, as the broker has them. Blocks.

        Asked by a consumer that joins nothing: librdkafka 2.16's admin requests crash where the broker restarts meanwhile.

        Raises:
            KafkaException: it does not answer.
        """
        asked = [TopicPartition(topic, number) for topic, number in mine]
        found = {}
        for place in self._consumer.committed(asked, timeout=BROKER_SECONDS) if asked else ():
            first, end = self._consumer.get_watermark_offsets(place, timeout=BROKER_SECONDS)
            # What was never committed, or is older than what is kept, starts at the first record there is.
            found[place.topic, place.partition] = max(place.offset, first), end
        return found

    def _take(self, found: Mapping[Partition, tuple[int, int]], now: float) -> None:
        for gone in self._partitions.keys() - found.keys():
            del self._partitions[gone]
            for gauge in (LAG, LAG_SECONDS):
                gauge.remove(self._group, gone[0], str(gone[1]))
        for partition, (committed, end) in found.items():
            progress = self._partitions.setdefault(partition, Progress())
            progress.saw(committed, end, now)
            labels = (self._group, partition[0], str(partition[1]))
            LAG.labels(*labels).set(progress.lag)
            LAG_SECONDS.labels(*labels).set(progress.lag_seconds(now))

    def _standing(self, now: float) -> list[str]:
        """The partitions that stand: all that lag of a topic, or one for ten times as long while others move.

        A slow database serves one partition after another: that one waits for its turn is no standstill.
        """
        since: dict[str, list[tuple[int, float]]] = {}
        moving = set()
        for (topic, number), progress in sorted(self._partitions.items()):
            if progress.stands_since is not None:
                since.setdefault(topic, []).append((number, now - progress.stands_since))
            if progress.moved_at is not None and now - progress.moved_at < self._patience:
                moving.add(topic)
        return [
            f"{topic}-{number}"
            for topic, lagging in since.items()
            for number, seconds in lagging
            if seconds >= self._patience * (10 if topic in moving else 1)
        ]
