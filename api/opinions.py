"""Second opinions: of a share of the groups, two people say what they mean, neither knowing what was said before.

The answers are kept as they were given, so that agreement is measured on what was said independently.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, or_, select, update
from sqlalchemy.dialects.mysql import insert

from api.groups import may_be_labelled
from schema.tables import intent_second_opinions as opinions
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now


def due(labeler: str, condition: ColumnElement[bool]) -> Select[tuple[int, bytes]]:
    """Ids and hashes of labelled questions that `labeler` is to answer as the second one, the longest waiting first."""
    joined = select(questions.c.id, questions.c.text_hash).join(opinions, opinions.c.question_id == questions.c.id)
    lacking = and_(opinions.c.second_labeler.is_(None), opinions.c.first_labeler != labeler, opinions.c.reviewed_at.is_(None))
    return joined.where(lacking, may_be_labelled(), questions.c.is_labeled, condition).order_by(opinions.c.first_at)


def note(
    connection: Connection,
    *,
    labeler: str,
    question_id: int,
    text_hash: bytes,
    answer: Sequence[str],
    blind: bool,
    in_share: bool,
) -> None:
    """Keep an answer of a group that is in the share, where it was given `blind`; by the same labeler it replaces the earlier."""
    now = utc_now()
    row = connection.execute(select(opinions).where(opinions.c.text_hash == text_hash).with_for_update()).one_or_none()
    if row is None:
        if blind and in_share:
            first = {"question_id": question_id, "first_labeler": labeler, "first_answer": list(answer), "first_at": now}
            connection.execute(insert(opinions).values(text_hash=text_hash, **first))
        return
    if row.reviewed_at is not None or not (blind or labeler in (row.first_labeler, row.second_labeler)):
        return
    given: dict[str, Any]
    if row.first_labeler == labeler:
        given = {"first_answer": list(answer), "first_at": now}
        other = row.second_answer
    elif row.second_labeler in (None, labeler):
        given = {"second_labeler": labeler, "second_answer": list(answer), "second_at": now}
        other = row.first_answer
    else:
        return
    agreed = None if other is None else set(other) == set(answer)
    connection.execute(update(opinions).where(opinions.c.text_hash == text_hash).values(agreed=agreed, **given))


def forget(connection: Connection, labeler: str, groups: Collection[bytes]) -> None:
    """Take back what `labeler` said of `groups`; a first answer goes with the second one, which is then the only one."""
    named = and_(opinions.c.text_hash.in_(sorted(groups)), opinions.c.reviewed_at.is_(None))
    mine = or_(opinions.c.first_labeler == labeler, opinions.c.second_labeler == labeler)
    for row in connection.execute(select(opinions).where(named, mine).order_by(opinions.c.text_hash).with_for_update()).all():
        this = opinions.c.text_hash == row.text_hash
        no_second = {"second_labeler": None, "second_answer": None, "second_at": None, "agreed": None}
        if row.second_labeler == labeler:
            connection.execute(update(opinions).where(this).values(no_second))
        elif row.second_labeler is None:
            connection.execute(delete(opinions).where(this))
        else:
            first = {"first_labeler": row.second_labeler, "first_answer": row.second_answer, "first_at": row.second_at}
            connection.execute(update(opinions).where(this).values(first | no_second))
