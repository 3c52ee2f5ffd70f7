"""Work for one labeler: groups of near-identical questions, held so that nobody else gets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, select

from api.filters import fits
from api.groups import copies, in_share, is_waiting
from api.leases import give_back, held_by, hold, is_free, is_unclaimed, sweep
from api.opinions import due
from api.queue import choose
from api.state import Api
from api.tasks import Questions, Work
from api.wire import Call, Nothing
from schema.database import hold_lock
from schema.rollups import WAITING, read
from schema.settings import Settings
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now

SPARE: Final = 10
"""Candidates beyond the wished number, in case others are faster."""
SECOND_SHARE: Final = 5
"""One in so many of a page may be a second opinion."""
PREDICTION: Final = ("intents", "confidence", "method", "matched_rules", "time_intent", "reasoning", "model_version")


async def next_work(api: Api, call: Call[Work, Nothing]) -> dict[str, Any]:
    """Groups that are the labeler's until the lease expires, those that the labeler holds already first.

    A share comes blind, without the model's answer: so that labels do not lean on it, and for second opinions.
    """
    labeler, asked = call.labeler(), call.body

    def look(connection: Connection) -> list[int]:
        """Candidates, while nobody has to wait; none where the labeler seems to hold enough."""
        enough = len(held_by(connection, labeler, utc_now())) >= asked.limit
        return [] if enough else _candidates(connection, labeler, asked)

    candidates = await api.database(look)

    def work(connection: Connection) -> dict[str, Any]:
        hold_lock(connection, "work")
        now = utc_now()
        sweep(connection, now)
        page = _Page(connection, labeler, asked, now)
        page.keep()
        page.take_due(max(1, asked.limit // SECOND_SHARE))
        page.take_free(candidates)
        if page.missing:
            page.take_free(_candidates(connection, labeler, asked))
        page.take_due(asked.limit)  # what room is left
        until = now + timedelta(seconds=api.settings.lease_seconds)
        hold(connection, labeler, page.groups, until)
        items = _items(connection, api.settings, page, until)
        return {"questions": items, "count": len(items), "lease_seconds": api.settings.lease_seconds}

    return await api.database(work)


async def release_work(api: Api, call: Call[Questions, Nothing]) -> dict[str, Any]:
    """Give groups back before their lease expires."""
    labeler, numbers = call.labeler(), call.body.question_ids

    def work(connection: Connection) -> dict[str, Any]:
        hashes = select(questions.c.text_hash).where(questions.c.id.in_(numbers))
        return {"released": give_back(connection, labeler, set(connection.execute(hashes).scalars()))}

    return await api.database(work)


def _candidates(connection: Connection, labeler: str, asked: Work) -> list[int]:
    free = and_(is_free(labeler, utc_now()), fits(asked.filters))
    return choose(connection, asked.strategy, asked.limit + SPARE, read(connection).get(WAITING, 0), free)


class _Page:
    """The groups that one labeler gets, by hash: the question that stands for each, and whether it is a second opinion."""

    def __init__(self, connection: Connection, labeler: str, asked: Work, now: datetime) -> None:
        self.groups: dict[bytes, tuple[int, bool]] = {}
        self._connection = connection
        self._labeler = labeler
        self._limit = asked.limit
        wanted = fits(asked.filters)
        self._free = and_(is_free(labeler, now), wanted)
        self._due = and_(is_unclaimed(labeler, now), wanted)
        self._now = now

    @property
    def missing(self) -> int:
        """How many groups there is room for."""
        return max(0, self._limit - len(self.groups))

    def keep(self) -> None:
        """What the labeler holds and can still answer."""
        held = held_by(self._connection, self._labeler, self._now)
        if not held:
            return
        waiting = copies(self._connection, held, self._free)
        self._add(((numbers[0], text_hash) for text_hash, numbers in waiting.items()), second=False)
        chosen = due(self._labeler, and_(self._due, questions.c.text_hash.in_(sorted(held))))
        self._add(((row.id, row.text_hash) for row in self._connection.execute(chosen)), second=True)

    def take_due(self, number: int) -> None:
        """At most `number` more of what lacks the labeler's second opinion."""
        if not (number := min(number, self.missing)):
            return
        chosen = due(self._labeler, and_(self._due, questions.c.text_hash.not_in(sorted(self.groups)))).limit(number)
        self._add(((row.id, row.text_hash) for row in self._connection.execute(chosen)), second=True)

    def take_free(self, candidates: Sequence[int]) -> None:
        """Those of `candidates` that nobody has taken meanwhile, in their order."""
        if not candidates or not self.missing:
            return
        chosen = select(questions.c.id, questions.c.text_hash).where(questions.c.id.in_(candidates), self._free)
        found = {row.id: row.text_hash for row in self._connection.execute(chosen)}
        self._add(((number, found[number]) for number in candidates if number in found), second=False)

    def _add(self, found: Iterable[tuple[int, bytes]], *, second: bool) -> None:
        for number, text_hash in found:
            if self.missing:
                self.groups.setdefault(text_hash, (number, second))


def _items(connection: Connection, settings: Settings, page: _Page, until: datetime) -> list[dict[str, Any]]:
    """The groups as the API tells them."""
    shown = (questions.c[name] for name in ("id", "question", "text_hash", "asked_at", *PREDICTION))
    ids = [number for number, _ in page.groups.values()]
    rows = {row.text_hash: row for row in connection.execute(select(*shown).where(questions.c.id.in_(ids)))}
    alike = copies(connection, page.groups, is_waiting())
    items = []
    for text_hash, (number, second) in page.groups.items():
        row = rows[text_hash]
        hidden = in_share(text_hash, settings.blind_share, "blind") or in_share(text_hash, settings.review_share, "review")
        blind = second or hidden
        group = [number] if second else sorted({number, *alike.get(text_hash, ())})
        answer = {name: row._mapping[name] for name in PREDICTION}
        items.append(
            {
                "id": number,
                "question": row.question,
                "group_size": len(group),
                "group_ids": group,
                "asked_at": row.asked_at,
                "prediction": None if blind or row.intents is None else answer,
                "blind": blind,
                "lease_expires_at": until,
            }
        )
    return items
