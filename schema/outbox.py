"""The transactional outbox: the one way in which the database speaks to Kafka.

A change of state writes its event into the `outbox` table in the same transaction; the relay publishes it, at least once,
and deletes the row once the broker has acknowledged it.
"""

from __future__ import annotations

from sqlalchemy import Connection

from schema.events import Event
from schema.ids import uuid7
from schema.tables import outbox, utc_now
from schema.topics import Topic


def enqueue(connection: Connection, topic: Topic, event: Event, *, key: str, traceparent: str | None = None) -> None:
    """Queue `event` for `topic`; it is published if, and only if, this transaction commits."""
    if not isinstance(event, topic.event):
        raise TypeError(f"{topic.stem} carries {topic.event.__name__}, not {type(event).__name__}")
    row = {
        "event_id": uuid7().bytes,
        "topic": topic.stem,
        "record_key": key,
        "event": event.model_dump_json(),
        "traceparent": traceparent,
        "created_at": utc_now(),
    }
    connection.execute(outbox.insert(), row)
