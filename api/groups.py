"""Groups of near-identical questions: those whose texts have the same normal form (`schema.text`), by `text_hash`."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, and_, func, select

from schema.tables import intent_user_questions as questions
from schema.tables import utc_now

MAX_COPIES: Final = 1000
"""So many copies of a text are told and labelled at once."""
_DIVES: Final = 4000
"""Places that one statement looks at in the index by day and hash: servers weigh more no longer one by one."""


def is_waiting() -> ColumnElement[bool]:
    """The questions that wait for a label: their askers agreed, and nobody has labelled them."""
    return questions.c.waiting_since.is_not(None)


def may_be_labelled() -> ColumnElement[bool]:
    """The questions that wait, and those that are labelled already."""
    return and_(questions.c.consent_training, questions.c.training_status != "skipped")


def copies(connection: Connection, hashes: Collection[bytes], which: ColumnElement[bool]) -> dict[bytes, list[int]]:
    """Ids of the questions with these hashes, the oldest first: of each at most `MAX_COPIES`."""
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    first, last = connection.execute(select(func.min(questions.c.stored_on), func.max(questions.c.stored_on))).one()
    if first is None:
        return found
    wanted = sorted(set(hashes))
    days = list(_days(first, max(last, utc_now().date())))
    step = max(1, _DIVES // len(days))
    for part in (wanted[i : i + step] for i in range(0, len(wanted), step)):
        chosen = select(questions.c.id, questions.c.text_hash).with_hint(questions, "FORCE INDEX (ix_questions_text)")
        theirs = chosen.where(questions.c.stored_on.in_(days), questions.c.text_hash.in_(part), which)
        for number, text_hash in connection.execute(theirs.order_by(questions.c.id)):
            if len(found[text_hash]) < MAX_COPIES:
                found[text_hash].append(number)
    return found


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def in_share(text_hash: bytes, share: float, what: Literal["blind", "review"]) -> bool:
    """Whether a group is among `share` of all, 0..1. It depends on its text alone; the shares are independent of one another."""
    drawn = hashlib.sha256(what.encode() + text_hash).digest()[:8]
    return int.from_bytes(drawn, "big") < share * 2**64
