"""Questions that wait for a label, and labelling them. A label goes through Kafka; it is never written from here."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from api.inputs import Label, Waiting
from api.queue import choose
from api.state import Api
from api.wire import PREFIX, Call, Nothing
from schema.errors import Conflict, NotFound
from schema.events import QuestionLabeled
from schema.ids import uuid7
from schema.privacy import mask
from schema.rollups import WAITING, read
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions
from schema.topics import QUESTION_LABELED
from schema.tracing import continued

REPEATS: Final = uuid.UUID("0f6a4a0e-8b1d-5c39-9d57-3f2f6f3f0b61")
MAX_ID: Final = 2**63 - 1
SHOWN: Final = [
    "id",
    "question",
    "intents",
    "confidence",
    "rule_types",
    "time_intent",
    "keywords",
    "method",
    "is_fortune_related",
    "is_ambiguous",
    "reasoning",
    "model_version",
    "rules_revision",
    "asked_at",
]
DETAIL: Final = [
    "is_labeled",
    "correct_intent",
    "correct_time_intent",
    "labeler_id",
    "labeled_at",
    "training_status",
    "training_batch_id",
    "training_model_version",
    "matched_rules",
    "consent_training",
    "response_time_ms",
    "created_at",
    "updated_at",
]


async def unlabeled(api: Api, call: Call[Nothing, Waiting]) -> dict[str, Any]:
    """The questions whose labels would teach most. Only those whose asker agreed."""
    asked = call.query

    def work(connection: Connection) -> dict[str, Any]:
        total = read(connection).get(WAITING, 0)
        ids = choose(connection, asked.strategy, asked.limit, total)
        chosen = select(*(questions.c[name] for name in SHOWN)).where(questions.c.id.in_(ids))
        rows = {row["id"]: dict(row) for row in connection.execute(chosen).mappings()}
        found = [rows[number] for number in ids if number in rows]
        if asked.strategy == "uncertain":  # the index knows the confidence in steps; within a page it is exact
            found.sort(key=lambda row: (row["confidence"] is not None, row["confidence"] or 0, row["id"]))
        return {"questions": found, "count": len(found), "total": total, "strategy": asked.strategy}

    return await api.database(work)


async def question(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """One question with its answer, its label and the labels before."""
    number = question_id(call.path["id"])

    def work(connection: Connection) -> dict[str, Any]:
        row = find(connection, number)._mapping
        names = ("correct_intent", "correct_time_intent", "labeler_id", "labeled_at", "applied_at")
        labels = select(*(history.c[name] for name in names)).where(history.c.question_id == number).order_by(history.c.id)
        shown = {name: row[name] for name in (*SHOWN, *DETAIL)}
        return {"question": shown | {"labels": [dict(label) for label in connection.execute(labels).mappings()]}}

    return await api.database(work)


async def label(api: Api, call: Call[Label, Nothing]) -> dict[str, Any]:
    """Send ``question.labeled``. The streams worker applies it: ask for the question to see it done."""
    number = question_id(call.path["id"])

    def check(connection: Connection) -> str | None:
        row = find(connection, number)
        if not row.consent_training or row.training_status == "skipped":
            raise Conflict("no_consent", f"question {number} was asked without consent to training", "id")
        found: str | None = row.traceparent
        return found

    asked_in = await api.database(check)
    said = call.body
    time_intent = said.correct_time_intent
    event = QuestionLabeled(
        question_id=number,
        correct_intent=said.correct_intent,
        correct_time_intent=time_intent and time_intent.model_copy(update={"description": mask(time_intent.description)}),
        labeler_id=said.labeler_id,
        labeled_at=datetime.now(UTC),
    )
    event_id = _event_id(call, number)
    trace = continued(call.traceparent) or continued(asked_in)
    await api.publish(QUESTION_LABELED, event, key=str(number), event_id=event_id, traceparent=trace)
    return {"event_id": event_id, "question_id": number, "look": f"{PREFIX}/questions/{number}"}


def _event_id(call: Call[Label, Nothing], number: int) -> str:
    """A new id, or with a key the same id for the same label: then a repeat after a lost answer is applied once.

    Without a key it must be new: a label that returns to an earlier one is not a repeat.
    """
    if call.idempotency_key is None:
        return str(uuid7())
    return str(uuid.uuid5(REPEATS, f"{number}\n{call.idempotency_key}\n{call.body.model_dump_json()}"))


def question_id(given: str) -> int:
    """The number in the path.

    Raises:
        NotFound: it cannot be any question's.
    """
    if not re.fullmatch(r"[0-9]{1,19}", given) or not 1 <= int(given) <= MAX_ID:
        raise NotFound("unknown_question", f"there is no question {given[:40]}", "id")
    return int(given)


def find(connection: Connection, number: int) -> Row[Any]:
    """The question's row.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(questions).where(questions.c.id == number)).one_or_none()
    if row is None:
        raise NotFound("unknown_question", f"there is no question {number}", "id")
    return row
