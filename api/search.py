"""Finding stored questions, and what the intents mean.

No index knows what stands inside a Chinese text on both MySQL and MariaDB, so the search goes through the questions, the
newest first, a stretch at a time and for a limited time: an answer may hold fewer than asked for, and say where to go on.
"""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, true

from api.filters import fits
from api.groups import may_be_labelled
from api.state import Api
from api.tasks import Search
from api.wire import Call, Nothing
from schema.tables import intent_question_marks as marks
from schema.tables import intent_user_questions as questions
from schema.taxonomy import BORDER_CASES, TAXONOMY

SECONDS: Final = 0.3
"""After so long an answer tells what was found so far."""
FIRST_STRETCH: Final = 2_000
LONGEST_STRETCH: Final = 50_000
FOUND: Final = [
    "id",
    "question",
    "intents",
    "confidence",
    "method",
    "matched_rules",
    "time_intent",
    "model_version",
    "asked_at",
    "is_labeled",
    "correct_intent",
    "correct_time_intent",
    "labeler_id",
    "labeled_at",
    "training_status",
]


async def search(api: Api, call: Call[Nothing, Search]) -> dict[str, Any]:
    """Questions whose askers agreed and that fit all that is given, the newest first.

    Go on with ``cursor=next_cursor`` until it is null: also an answer without questions may name one.
    """
    asked = call.query

    def work(connection: Connection) -> dict[str, Any]:
        before = None if asked.cursor is None else int(asked.cursor)
        return look_through(connection, _condition(asked), before, asked.limit, asked.status)

    return await api.database(work)


def look_through(
    connection: Connection,
    condition: ColumnElement[bool],
    before: int | None,
    limit: int,
    status: str | None,
    *,
    seconds: float = SECONDS,
    stretch: int = FIRST_STRETCH,
) -> dict[str, Any]:
    """The newest `limit` questions below the id `before` that fit, as far as they are found in `seconds`."""
    low, high = connection.execute(select(func.min(questions.c.id), func.max(questions.c.id))).one()
    if low is None:
        return {"questions": [], "next_cursor": None}
    top, ends = min(high + 1, before or high + 1), time.monotonic() + seconds
    found: list[dict[str, Any]] = []
    while top > low:
        bottom = max(low, top - stretch)
        here = and_(questions.c.id >= bottom, questions.c.id < top)
        chosen = select(*(questions.c[name] for name in FOUND)).where(here, condition).order_by(questions.c.id.desc())
        found += (dict(row) for row in connection.execute(chosen.limit(limit - len(found))).mappings())
        top = bottom if len(found) < limit else found[-1]["id"]
        stretch = min(LONGEST_STRETCH, 4 * stretch)
        if len(found) >= limit or time.monotonic() >= ends:
            break
    _name_status(connection, found, status)
    return {"questions": found, "next_cursor": str(top) if top > low else None}


def _name_status(connection: Connection, found: list[dict[str, Any]], status: str | None) -> None:
    """Say of each question what state it is in."""
    open_ones = [row["id"] for row in found if not row["is_labeled"]]
    flags = and_(marks.c.question_id.in_(open_ones), marks.c.kind == "flag")
    flagged = set(connection.execute(select(marks.c.question_id).where(flags)).scalars()) if open_ones else set()
    for row in found:
        state = "labeled" if row["is_labeled"] else "flagged" if row["id"] in flagged else "open"
        row["status"] = status or state


def _condition(asked: Search) -> ColumnElement[bool]:
    theirs: ColumnElement[bool] = true() if asked.labeler is None else marks.c.labeler_id == asked.labeler

    def marked(kind: str, who: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(marks.c.question_id == questions.c.id, marks.c.kind == kind, who)

    state: ColumnElement[bool]
    if asked.status == "open":
        state = and_(questions.c.waiting_since.is_not(None), ~marked("flag", true()))
    elif asked.status == "skipped":
        state = marked("skip", theirs)
    elif asked.status == "flagged":
        state = marked("flag", theirs)
    else:
        state = questions.c.is_labeled if asked.status == "labeled" else true()
        if asked.labeler is not None:
            state = and_(state, questions.c.labeler_id == asked.labeler)
    return and_(may_be_labelled(), state, fits(asked))


async def guidelines(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Every intent with its Chinese name, when it applies and examples, in the order of the keys; and the border cases."""
    intents = [
        {
            "name": name,
            "chinese": one.chinese,
            "rule_type": one.rule_type,
            "guideline": one.guideline,
            "examples": list(one.examples),
        }
        for name, one in TAXONOMY.items()
    ]
    return {"intents": intents, "border_cases": list(BORDER_CASES)}
