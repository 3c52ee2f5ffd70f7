"""A record as the agents see it, whatever Faust hands over; and what became of a batch of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from schema.database import RowRefused
from schema.dead_letters import DeadLetter, Origin, dead_letter
from schema.errors import EventError
from schema.events import Headers

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record, nothing parsed."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def from_message(cls, message: Any, consumer: str) -> Record:
        """From Faust's message; its headers may be a mapping, a list or None."""
        raw = message.headers or []
        headers = list(raw.items()) if hasattr(raw, "items") else list(raw)
        stamp = int(message.timestamp * 1000) if message.timestamp else 0
        origin = Origin(message.topic, message.partition, message.offset, consumer, stamp)
        return cls(origin, message.key, message.value, headers)


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that can never be processed, and why."""

    record: Record
    error: EventError

    def letter(self) -> DeadLetter:
        """Its dead letter."""
        stage = "TASK_PUT" if isinstance(self.error, RowRefused) else "VALUE_CONVERTER"
        trace = "".join(traceback.format_exception(self.error))
        record = self.record
        return dead_letter(record.origin, record.key, record.value, record.headers, self.error, stage=stage, trace=trace)


@dataclass(slots=True)
class Outcome:
    """What became of a batch: how many of each, what was refused, and what to publish after the commit."""

    counts: dict[str, int] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    publish: list[tuple[str, Any]] = field(default_factory=list)


def split(records: Sequence[Record], read: Callable[[Record], T]) -> tuple[list[tuple[Record, T]], list[Refused]]:
    """Read each record; what `read` refuses comes back as `Refused`."""
    good, refused = [], []
    for record in records:
        try:
            good.append((record, read(record)))
        except EventError as error:
            refused.append(Refused(record, error))
    return good, refused


def store_or_bisect(items: Sequence[tuple[Record, T]], store: Callable[[Sequence[T]], R], refused: list[Refused]) -> list[R]:
    """Store `items`; where the database refuses a row, halve until it is found, and store the rest.

    Raises:
        TransientError: from `store`; halves that were stored before are stored again without effect.
    """
    if not items:
        return []
    try:
        return [store([item for _, item in items])]
    except RowRefused as error:
        if len(items) == 1:
            refused.append(Refused(items[0][0], error))
            return []
    middle = len(items) // 2
    return store_or_bisect(items[:middle], store, refused) + store_or_bisect(items[middle:], store, refused)
