"""A record as the agents see it, whatever Faust hands over; and what became of a batch of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from schema.database import RowRefused
from schema.dead_letters import DeadLetter, Origin, dead_letter
from schema.envelope import Headers
from schema.errors import EventError

T = TypeVar("T")


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

    def letter(self, pseudonym_key: str) -> DeadLetter:
        """Its dead letter; with the key, its user gets the pseudonym that stored questions have."""
        stage = "TASK_PUT" if isinstance(self.error, RowRefused) else "VALUE_CONVERTER"
        trace = "".join(traceback.format_exception(self.error))
        record = self.record
        return dead_letter(
            record.origin,
            record.key,
            record.value,
            record.headers,
            self.error,
            stage=stage,
            trace=trace,
            pseudonym_key=pseudonym_key,
        )


@dataclass(slots=True)
class Outcome:
    """What became of a batch.

    Attributes:
        counts: how many of each.
        refused: what goes to the dead-letter topic.
        pairs: each keyword with each intent in it, stored now or before: their totals are published.
        retries: how often it was tried again.
    """

    counts: dict[str, int] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    retries: int = 0


def split(records: Sequence[Record], read: Callable[[Record], T]) -> tuple[list[tuple[Record, T]], list[Refused]]:
    """Read each record; what `read` refuses comes back as `Refused`."""
    good, refused = [], []
    for record in records:
        try:
            good.append((record, read(record)))
        except EventError as error:
            refused.append(Refused(record, error))
    return good, refused
