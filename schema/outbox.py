"""The transactional outbox: the one way in which the database speaks to Kafka.

A change of state writes its event into the `outbox` table in the same transaction; the relay publishes it, at least once,
and deletes the row once the broker has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from schema.events import Event
from schema.ids import uuid7
from schema.tables import outbox, utc_now
from schema.topics import Topic


@dataclass(frozen=True, slots=True)
class Message:
    """An event with its record's key and the trace that it continues."""

    event: Event
    key: str
    traceparent: str | None = None


def enqueue(connection: Connection, topic: Topic, event: Event, *, key: str, traceparent: str | None = None) -> None:
    """Queue `event` for `topic`; it is published if, and only if, this transaction commits."""
    enqueue_all(connection, topic, [Message(event, key, traceparent)])


def enqueue_all(connection: Connection, topic: Topic, messages: Sequence[Message]) -> None:
    """Queue `messages` for `topic`, in their order."""
    now, rows = utc_now(), []
    for message in messages:
        if not isinstance(message.event, topic.event):
            raise TypeError(f"{topic.stem} carries {topic.event.__name__}, not {type(message.event).__name__}")
        row = {
            "event_id": uuid7().bytes,
            "topic": topic.stem,
            "record_key": message.key,
            "event": message.event.model_dump_json(),
            "traceparent": message.traceparent,
            "created_at": now,
        }
        rows.append(row)
    if rows:
        connection.execute(outbox.insert(), rows)
