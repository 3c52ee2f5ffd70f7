"""What a dead letter looks like: the original record without identifiers, and why it died, in headers.

Header names: Apache Kafka, ``DeadLetterQueueReporter``. A header that the record already has is not overwritten; our own
(``intentloop.*``) are, because `intentloop dlq` relies on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schema.envelope import Headers
from schema.errors import EventError
from schema.privacy import is_pseudonym, mask
from schema.redaction import redact, redact_header, redact_user
from schema.topics import TOPICS

PREFIX: Final = "__connect.errors."
OWN_PREFIX: Final = "intentloop."
REASON: Final = OWN_PREFIX + "reason"
"""The `EventError.reason`: one short word, for filters and metrics."""
ORIGIN: Final = OWN_PREFIX + "origin"
"""``TOPIC:PARTITION:OFFSET`` of the original record: the dead letter's id. Two letters with one id tell of one record."""
DIED_AT: Final = OWN_PREFIX + "dead-lettered-at"
"""When, in ISO 8601; the record's timestamp is that of the original."""
REPLAYED_FROM: Final = OWN_PREFIX + "replayed-from"
"""On a record that was sent again: the id of its dead letter."""

MAX_MESSAGE_CHARS: Final = 2_000
MAX_TRACE_CHARS: Final = 16_000
_SQL: Final = re.compile(
    r"\[SQL: .*?(?=\n\[SQL parameters hidden|\n\[parameters: |\n\(Background on this error|\n\n|\Z)", re.DOTALL
)


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
    origin: Origin,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    error: Exception,
    *,
    stage: str,
    trace: str = "",
    pseudonym_key: str = "",
    at: datetime | None = None,
) -> DeadLetter:
    """The dead letter for a record that `error` ended. Nothing in it identifies anybody: see `schema.redaction`.

    Args:
        pseudonym_key: with it, users and sessions become the pseudonyms that their stored questions have, so that a replayed
            event belongs to the same user; without it they are only masked.
        at: when it died; default: now.
    """
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
        "exception.message": mask(str(error))[:MAX_MESSAGE_CHARS],
        "exception.stacktrace": safe_trace(trace) or kind,
    }
    own = {
        REASON: error.reason if isinstance(error, EventError) else "failed",
        ORIGIN: f"{origin.topic}:{origin.partition}:{origin.offset}",
        DIED_AT: (at or datetime.now(UTC)).isoformat(timespec="milliseconds"),
    }
    kept = [pair for pair in headers if not pair[0].startswith(OWN_PREFIX) or pair[0] == REPLAYED_FROM]
    safe_key = _safe_key(origin.topic, key, value, headers, pseudonym_key)
    safe = [
        (name, safe_key) if said == key and safe_key else redact_header(name, said, pseudonym_key)  # ce_subject, say
        for name, said in kept
    ]
    present = {name for name, _ in kept}
    added = {PREFIX + name: text for name, text in report.items() if PREFIX + name not in present} | own
    return DeadLetter(
        safe_key,
        redact(value, pseudonym_key),
        [*safe, *((name, text.encode(errors="backslashreplace")) for name, text in added.items())],
        origin.timestamp_ms,
    )


def safe_trace(trace: str) -> str:
    """The end of `trace`, masked, and without SQL: a statement may hold the text of many questions."""
    return mask(_SQL.sub("[SQL: left out]", trace))[-MAX_TRACE_CHARS:]


def _safe_key(topic: str, key: bytes | None, value: bytes | None, headers: Headers, pseudonym_key: str) -> bytes | None:
    """`key` without identifiers. In a topic that is keyed by users the whole key is one.

    Exceptions are a key that is a pseudonym, and one that is plainly the event's own id, as a question without a user has it.
    """
    if not key or not _keyed_by_user(topic):
        return redact(key, pseudonym_key)
    is_event_id = ("ce_id", key) in headers or re.search(rb'"id"\s*:\s*"' + re.escape(key) + b'"', value or b"")
    if is_event_id or is_pseudonym(key.decode(errors="replace")):
        return redact(key, pseudonym_key)
    return redact_user(key, pseudonym_key)


def _keyed_by_user(topic: str) -> bool:
    """Whether the keys of `topic` (its full name) are users. An unknown topic's may be."""
    return not any(topic.endswith(known.stem) and not known.keyed_by_user for known in TOPICS)
