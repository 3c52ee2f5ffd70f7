"""What a dead letter looks like: the original record, masked, with Kafka Connect's error headers.

Header names: Apache Kafka, ``DeadLetterQueueReporter``. A header that the record already has is not overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schema.events import Headers
from schema.privacy import mask, mask_bytes

PREFIX: Final = "__connect.errors."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read, and by whom."""

    topic: str
    partition: int
    offset: int
    consumer: str
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record for a dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


def dead_letter(
    origin: Origin, key: bytes | None, value: bytes | None, headers: Headers, error: Exception, *, stage: str, trace: str = ""
) -> DeadLetter:
    """The dead letter for a record that `error` ended. Identifiers are masked in key, value, message and trace."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    report = {
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
        "connector.name": origin.consumer,
        "task.id": "0",
        "stage": stage,
        "class.name": origin.consumer,
        "exception.class.name": kind,
        "exception.message": mask(str(error)),
        "exception.stacktrace": mask(trace) or kind,
    }
    present = {name for name, _ in headers}
    added = [(PREFIX + name, text.encode()) for name, text in report.items() if PREFIX + name not in present]
    return DeadLetter(mask_bytes(key), mask_bytes(value), [*headers, *added], origin.timestamp_ms)
