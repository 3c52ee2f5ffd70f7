"""The live view of keyword-intent counts: absolute totals from a compacted topic.

A plain dictionary, read from the topic's beginning by every worker. It recovers more simply than a Faust table: nothing
is stored here, and redelivered totals overwrite themselves. Totals only grow, so the larger of two is the newer one,
whichever worker's publish came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import UTC, datetime

from sqlalchemy import Connection

from schema.envelope import Envelope
from schema.events import KeywordCounted
from schema.follower import Follower
from schema.settings import Settings
from schema.tables import intent_keyword_counts as counts
from schema.topics import KEYWORD_COUNTS
from streams.literals import run
from streams.pairs import Pair, words_of


def read_totals(connection: Connection, pairs: Set[Pair]) -> dict[Pair, int]:
    """The present totals of `pairs`."""
    if not pairs:
        return {}
    rows = run(connection, f"SELECT keyword, intent, total FROM {counts.name} WHERE keyword IN ({words_of(pairs)})")
    return {(word, intent): total for word, intent, total in rows if (word, intent) in pairs}


def counted(totals: dict[Pair, int]) -> Iterable[tuple[str, KeywordCounted]]:
    """The events, with their keys, that tell new totals."""
    now = datetime.now(UTC)
    for (keyword, intent), total in totals.items():
        event = KeywordCounted.model_validate({"keyword": keyword, "intent": intent, "total": total, "updated_at": now})
        yield f"{intent}/{keyword}", event


class LiveCounts:
    """The totals of every keyword and intent, as far as the topic has been read."""

    def __init__(self, settings: Settings) -> None:
        self._totals: dict[Pair, int] = {}
        self.follower = Follower(settings, KEYWORD_COUNTS, KeywordCounted, self.take)

    def take(self, envelope: Envelope[KeywordCounted]) -> None:
        """Apply one event."""
        said = envelope.data
        pair = (said.keyword, said.intent)
        self._totals[pair] = max(said.total, self._totals.get(pair, 0))

    def top(self, *, intent: str | None = None, limit: int = 100) -> list[dict[str, object]]:
        """The largest totals, of one intent or of all."""
        chosen = [(pair, n) for pair, n in list(self._totals.items()) if intent is None or pair[1] == intent]
        chosen.sort(key=lambda item: (-item[1], item[0]))
        return [{"keyword": k, "intent": i, "total": n} for (k, i), n in chosen[:limit]]
