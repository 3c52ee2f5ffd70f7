"""Questions and labels as the streams worker delivers them to the database, without Kafka between."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Engine

from schema.database import in_transaction
from schema.dead_letters import Origin
from schema.envelope import Envelope, wrap
from schema.events import Classification, Consent, QuestionAsked, QuestionLabeled
from schema.rollups import read
from schema.tables import utc_now
from streams.labels import apply_labels
from streams.questions import Row, prepare, store_questions
from streams.records import Record
from streams.rollups import recount

KEY = "a key for tests only"
NOW = utc_now().replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
numbers = itertools.count(1)
Batch = Sequence[tuple[str, QuestionAsked]]


def asked(keyword: str, *intents: str, **changes: Any) -> QuestionAsked:
    """A question in which `keyword` stands."""
    said = {"intents": intents or ["wealth"], "confidence": 0.5, "keywords": [keyword], "method": "local_model"}
    said |= {"response_time_ms": 12, "is_fortune_related": True, "model_version": "v0", "rules_revision": 0}
    question = QuestionAsked(
        question=f"{keyword}如何", user_id="u", consent=Consent(training=True), classification=Classification.model_validate(said)
    )
    return question.model_copy(update=changes)


def batch(*said: QuestionAsked) -> Batch:
    """`said` with event ids, growing ones, so that they can be delivered again."""
    return [(str(uuid.UUID(int=next(numbers))), question) for question in said]


def rows_of(events: Batch, now: datetime) -> list[Row]:
    return [
        prepare(
            wrap(question, source="test", event_id=number, at=now.replace(tzinfo=UTC)), key=KEY, default_consent=False, now=now
        )
        for number, question in events
    ]


def store(engine: Engine, events: Batch, now: datetime = NOW) -> None:
    """Deliver `events` to the database as the streams worker does."""
    in_transaction(engine, partial(store_questions, batch=rows_of(events, now)))


def assert_rollups_hold(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as connection:
        kept = read(connection)
        assert kept == recount(connection)
    return kept


def labelled(number: int, *intents: str, event_id: str | None = None, **more: Any) -> tuple[Record, Envelope[QuestionLabeled]]:
    """A label as the agent hands it over, with its record, of which only refusals speak."""
    said = {"question_id": number, "correct_intent": intents, "labeler_id": "ann", "labeled_at": NOW} | more
    record = Record(Origin("question.labeled", 0, number, "test", 0), None, None, [])
    return record, wrap(QuestionLabeled.model_validate(said), source="test", event_id=event_id)


def label(engine: Engine, number: int, *intents: str, event_id: str | None = None) -> None:
    one = labelled(number, *intents, event_id=event_id)
    in_transaction(engine, partial(apply_labels, labels=[one]))
