"""Who holds which group of questions: leases, and what keeps a group from being handed out.

Whoever hands out holds the lock ``work``, so that no two labelers get the same group; to give back takes no lock.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select
from sqlalchemy.dialects.mysql import insert

from schema.tables import intent_leases as leases
from schema.tables import intent_question_marks as marks
from schema.tables import intent_user_questions as questions

ON_ITS_WAY: Final = timedelta(hours=1)
"""So long a label may take from here through Kafka to the database; until then its question is not handed out again."""
_SWEPT: Final = 100


def is_unclaimed(labeler: str, now: datetime) -> ColumnElement[bool]:
    """The questions whose group nobody else holds, nobody flagged, and `labeler` neither skipped nor put off."""
    same_text = marks.c.text_hash == questions.c.text_hash
    mine = marks.c.labeler_id == labeler
    put_off = or_(
        marks.c.kind == "flag",
        and_(mine, marks.c.kind == "skip"),
        and_(mine, marks.c.kind == "postpone", marks.c.until > now),
    )
    held = and_(leases.c.text_hash == questions.c.text_hash, leases.c.labeler_id != labeler, leases.c.expires_at > now)
    return and_(~exists().where(held), ~exists().where(same_text, put_off))


def is_free(labeler: str, now: datetime) -> ColumnElement[bool]:
    """The waiting questions that `labeler` may be given."""
    return and_(questions.c.waiting_since.is_not(None), is_unclaimed(labeler, now), ~is_labelled_on_its_way(now))


def is_labelled_on_its_way(now: datetime) -> ColumnElement[bool]:
    """The questions whose label was sent, and may not be in the database yet."""
    sent = and_(marks.c.question_id == questions.c.id, marks.c.kind.in_(("label", "copy")), marks.c.created_at > now - ON_ITS_WAY)
    return exists().where(sent)


def held_by(connection: Connection, labeler: str, now: datetime) -> set[bytes]:
    """The groups that `labeler` holds."""
    chosen = select(leases.c.text_hash).where(leases.c.labeler_id == labeler, leases.c.expires_at > now)
    return set(connection.execute(chosen).scalars())


def hold(connection: Connection, labeler: str, groups: Collection[bytes], until: datetime) -> None:
    """Take `groups`, which are free, or hold them longer. The caller holds the lock ``work``."""
    if groups:
        rows = [{"text_hash": one, "labeler_id": labeler, "expires_at": until} for one in sorted(groups)]
        statement = insert(leases)
        taken = statement.inserted
        connection.execute(statement.on_duplicate_key_update(labeler_id=taken.labeler_id, expires_at=taken.expires_at), rows)


def give_back(connection: Connection, labeler: str, groups: Collection[bytes]) -> int:
    """Let others have `groups`; returns how many `labeler` held."""
    if not groups:
        return 0
    theirs = and_(leases.c.text_hash.in_(sorted(groups)), leases.c.labeler_id == labeler)
    return connection.execute(delete(leases).where(theirs)).rowcount


def sweep(connection: Connection, now: datetime) -> None:
    """Delete some of what expired long ago. The caller holds the lock ``work``."""
    old = select(leases.c.text_hash).where(leases.c.expires_at < now - ON_ITS_WAY).limit(_SWEPT)
    if groups := list(connection.execute(old).scalars()):
        connection.execute(delete(leases).where(leases.c.text_hash.in_(groups)))
