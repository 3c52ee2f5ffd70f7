"""What people decided on questions, kept until they undo it. The rows of one decision share its id.

A label's own place is the history, to which it goes through Kafka; its mark says that it was sent, by whom, and counts it once
for all copies of a text.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, delete, select

from schema.tables import intent_question_marks as marks

Kind = Literal["label", "skip", "postpone", "flag", "undo"]
"""An undo is kept only to know a repeat of its request."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision of one person on one question.

    Attributes:
        id: of the decision; for a label, that of its event.
        copies: the other questions that it holds for.
    """

    id: uuid.UUID
    kind: Kind
    labeler_id: str
    question_id: int
    text_hash: bytes
    copies: tuple[int, ...] = ()


def keep(connection: Connection, made: Decision, now: datetime, **more: Any) -> None:
    """Keep a decision. A repeat of a label's request changes nothing; of the other kinds the last one counts."""
    same = and_(marks.c.question_id == made.question_id, marks.c.kind == made.kind, marks.c.labeler_id == made.labeler_id)
    if made.kind in ("label", "undo"):
        if connection.execute(select(marks.c.id).where(same, marks.c.decision == made.id.bytes)).first() is not None:
            return
    else:
        connection.execute(delete(marks).where(same))
    common: Mapping[str, Any] = {
        "decision": made.id.bytes,
        "text_hash": made.text_hash,
        "labeler_id": made.labeler_id,
        "created_at": now,
        "comment": None,
        "answer": None,
        "until": None,
    }
    rows = [(made.question_id, made.kind), *((number, "copy") for number in made.copies)]
    connection.execute(marks.insert(), [{**common, **more, "question_id": number, "kind": kind} for number, kind in rows])


def last_decision(connection: Connection, number: int, labeler_id: str) -> list[Row[Any]]:
    """The marks of the last decision of `labeler_id` on question `number`, that of the question itself first; or none."""
    theirs = and_(marks.c.question_id == number, marks.c.labeler_id == labeler_id, marks.c.kind != "undo")
    last = connection.execute(select(marks).where(theirs).order_by(marks.c.id.desc()).limit(1)).one_or_none()
    if last is None:
        return []
    of_it = and_(marks.c.text_hash == last.text_hash, marks.c.decision == last.decision)
    rows = connection.execute(select(marks).where(of_it).order_by(marks.c.id)).all()
    return sorted(rows, key=lambda row: row.id != last.id)


def was_undone(connection: Connection, number: int, request: uuid.UUID) -> bool:
    """Whether this request for an undo was carried out before."""
    same = and_(marks.c.question_id == number, marks.c.kind == "undo", marks.c.decision == request.bytes)
    return connection.execute(select(marks.c.id).where(same)).first() is not None


def drop(connection: Connection, text_hash: bytes, decision: bytes) -> int:
    """Forget a decision; returns how many marks went."""
    return connection.execute(delete(marks).where(marks.c.text_hash == text_hash, marks.c.decision == decision)).rowcount
