"""Questions that wait for a label, and one question with all that is known of it."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from api.inputs import Waiting
from api.queue import choose
from api.state import Api
from api.wire import Call, Nothing
from schema.errors import NotFound
from schema.rollups import WAITING, read
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions

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
        names = ("correct_intent", "correct_time_intent", "labeler_id", "labeled_at", "applied_at", "takes_back")
        labels = select(*(history.c[name] for name in names)).where(history.c.question_id == number).order_by(history.c.id)
        shown = {name: row[name] for name in (*SHOWN, *DETAIL)}
        return {"question": shown | {"labels": [dict(label) for label in connection.execute(labels).mappings()]}}

    return await api.database(work)


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
