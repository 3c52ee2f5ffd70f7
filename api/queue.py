"""Which of the waiting questions are shown first, by index alone: the cost grows with the page, not with the queue."""

from __future__ import annotations

import random
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, true

from api.inputs import Strategy
from api.mixing import Candidate, mix
from schema.rollups import labels_by_intent
from schema.tables import intent_label_suspects as suspected
from schema.tables import intent_user_questions as questions

SHUFFLED: Final = 10_000
"""A queue up to this length is shuffled by the database; in a longer one ids are drawn until enough of them wait."""
POOL: Final = 2_000
POOL_PAGES: Final = 5
"""Candidates for a mixed page: so many pages of the least certain, at most `POOL`."""
DRAWN: Final = 5_000
ROUNDS: Final = 6

_band: Final = questions.c.waiting_band
_since: Final = questions.c.waiting_since
_id: Final = questions.c.id
_EVERY: Final = true()


def choose(connection: Connection, strategy: Strategy, limit: int, waiting: int, only: ColumnElement[bool] = _EVERY) -> list[int]:
    """Ids of at most `limit` waiting questions, in their order; `waiting` is how many there are, about.

    Of those that wait, `only` says which. It is asked for every one that is passed by.

    ``uncertain`` counts in steps of 0.005, within a step the oldest first; what was never classified comes before all.
    ``mixed`` is `api.mixing`; ``disagreement`` are those of the `POOL` least certain where the rules spoke for another intent.
    """
    if strategy == "mixed":
        return _mixed(connection, limit, waiting, only)
    if strategy == "disagreement":
        return _disputed(connection, choose(connection, "uncertain", POOL, waiting, only))[:limit]
    if strategy == "suspects":
        return suspects(connection, limit)
    if strategy == "uncertain":
        return _ids(connection, select(_id).where(_band.is_not(None), only).order_by(_band, _id).limit(limit))
    queued = and_(_since.is_not(None), only)
    if strategy == "newest":
        return _ids(connection, select(_id).where(queued).order_by(_since.desc(), _id.desc()).limit(limit))
    if strategy == "oldest":
        return _ids(connection, select(_id).where(queued).order_by(_since, _id).limit(limit))
    if waiting <= SHUFFLED:
        return _ids(connection, select(_id).where(queued).order_by(func.rand()).limit(limit))
    return draw(connection, limit, waiting, random.Random(), only)


def _mixed(connection: Connection, limit: int, waiting: int, only: ColumnElement[bool]) -> list[int]:
    ids = choose(connection, "uncertain", min(POOL, POOL_PAGES * limit), waiting, only)
    drawn = choose(connection, "random", limit, waiting, only)
    chosen = select(_id, questions.c.question, questions.c.intents).where(_id.in_({*ids, *drawn}))
    found = {row.id: Candidate(row.id, row.question, tuple(row.intents or ())) for row in connection.execute(chosen)}
    uncertain, random_ones = ([found[number] for number in some if number in found] for some in (ids, drawn))
    return mix(uncertain, random_ones, labels_by_intent(connection), limit)


def _disputed(connection: Connection, ids: list[int]) -> list[int]:
    """Those of `ids` where rules spoke, and none for an intent of the answer; in their order."""
    chosen = select(_id, questions.c.intents, questions.c.matched_rules).where(_id.in_(ids))
    disputed = {
        row.id
        for row in connection.execute(chosen)
        if row.matched_rules and {rule["intent"] for rule in row.matched_rules}.isdisjoint(row.intents or ())
    }
    return [number for number in ids if number in disputed]


def suspects(connection: Connection, limit: int) -> list[int]:
    """Ids of labelled questions whose label looks wrong, the most suspicious first: what the last training found."""
    chosen = select(suspected.c.question_id).join(questions, _id == suspected.c.question_id)
    unchanged = questions.c.labeled_at == suspected.c.labeled_at  # a label given since is not the one that looked wrong
    return list(connection.execute(chosen.where(unchanged).order_by(suspected.c.quality).limit(limit)).scalars())


def draw(
    connection: Connection, limit: int, waiting: int, chance: random.Random, only: ColumnElement[bool] = _EVERY
) -> list[int]:
    """`limit` of the waiting questions, each as likely as the others, in random order.

    Where few of all stored questions wait, drawing could go on for long: what is missing after `ROUNDS` is then one stretch
    of the queue, at a random moment.
    """
    low, high = connection.execute(select(func.min(_id), func.max(_id))).one()
    found: dict[int, None] = {}
    for _ in range(ROUNDS):
        wanted = 12 * (limit - len(found)) * (high - low + 1) // (10 * max(1, waiting))
        drawn = {chance.randint(low, high) for _ in range(min(DRAWN, wanted + 10))}
        hit = _ids(connection, select(_id).where(_id.in_(drawn), _since.is_not(None), only))
        found |= dict.fromkeys(chance.sample(hit, len(hit)))
        if len(found) >= limit:
            return list(found)[:limit]
    oldest, newest = connection.execute(select(func.min(_since), func.max(_since))).one()
    if oldest is not None:
        moment = oldest + (newest - oldest) * chance.random()
        for stretch in (_since >= moment, _since.asc()), (_since < moment, _since.desc()):
            found |= dict.fromkeys(_ids(connection, select(_id).where(stretch[0], only).order_by(stretch[1]).limit(limit)))
    return list(found)[:limit]


def _ids(connection: Connection, chosen: Select[Any]) -> list[int]:
    return list(connection.execute(chosen).scalars())
