"""The relay: what the database has to say, in order, at least once.

It reads the outbox by id under a lock that only one relay holds, publishes, waits for every acknowledgement, and deletes
the rows in the transaction that holds the lock. A crash in between publishes them again with the same event ids.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC
from typing import Any

from prometheus_client import Counter, Gauge
from sqlalchemy import Connection, Engine, Row, delete, func, select

from schema.database import hold_lock, in_transaction
from schema.errors import TransientError
from schema.producer import EventProducer
from schema.tables import outbox, utc_now
from schema.topics import TOPICS

log = logging.getLogger(__name__)
PUBLISHED = Counter("intentloop_outbox_published", "events the relay published", ["topic"])
DEPTH = Gauge("intentloop_outbox_rows", "events that wait to be published")
AGE = Gauge("intentloop_outbox_oldest_seconds", "age of the oldest of them")
BATCH = 500
MEASURE_SECONDS = 2.0
DELIVERY_SECONDS = 20.0
BY_STEM = {topic.stem: topic for topic in TOPICS}


def publish_outbox(connection: Connection, producer: EventProducer) -> int:
    """Publish what waits, oldest first, and delete it; returns how many rows there were.

    Raises:
        TransientError: the broker did not acknowledge all of it. The caller's transaction rolls back.
    """
    hold_lock(connection, "relay")
    rows = connection.execute(select(outbox).order_by(outbox.c.id).limit(BATCH)).all()
    if not rows:
        return 0
    sent = [_send(producer, row) for row in rows]
    for future in sent:
        try:
            future.result(DELIVERY_SECONDS)
        except FutureTimeout:
            raise TransientError(f"the broker did not acknowledge within {DELIVERY_SECONDS:.0f} s") from None
    connection.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in rows])))
    return len(rows)


def _send(producer: EventProducer, row: Row[Any]) -> Future[None]:
    topic = BY_STEM[row.topic]
    event = topic.event.model_validate_json(row.event)
    PUBLISHED.labels(row.topic).inc()
    return producer.send(
        topic,
        event,
        key=row.record_key,
        event_id=str(uuid.UUID(bytes=row.event_id)),
        traceparent=row.traceparent,
        at=row.created_at.replace(tzinfo=UTC),
    )


def measure_outbox(connection: Connection) -> None:
    """Tell the metrics how many events wait, and for how long."""
    depth, oldest = connection.execute(select(func.count(), func.min(outbox.c.created_at))).one()
    DEPTH.set(depth)
    AGE.set((utc_now() - oldest).total_seconds() if oldest else 0.0)


class Relay:
    """The loop around `publish_outbox`.

    Args:
        idle: seconds between two looks at an empty outbox.
    """

    def __init__(self, engine: Engine, producer: EventProducer, *, idle: float = 0.01) -> None:
        self.stopping = threading.Event()
        self._engine = engine
        self._producer = producer
        self._idle = idle

    def run(self) -> None:
        """Work until `stopping` is set."""
        pause = self._idle
        measured_at = 0.0
        while not self.stopping.is_set():
            try:
                if time.monotonic() - measured_at > MEASURE_SECONDS:
                    in_transaction(self._engine, measure_outbox)
                    measured_at = time.monotonic()
                if in_transaction(self._engine, lambda connection: publish_outbox(connection, self._producer)):
                    pause = 0.0
                else:
                    pause = self._idle
            except TransientError as error:
                pause = min(5.0, max(0.1, pause * 2))
                log.warning("relay: trying again in %.1f s: %s", pause, error)
            self.stopping.wait(pause)
