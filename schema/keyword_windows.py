"""Keyword counts of the last hour, day and week, and what rises: differences of absolute totals.

A window is counted from the newest snapshot that is at least as old as the window is long, and answers say which one that
was. A redelivered event changes no total, so it is in no window twice. A system younger than a window is counted from its
first snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, literal, select

from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_snapshots as snapshots

Window = Literal["total", "hour", "day", "week", "trend"]
DAY: Final = timedelta(days=1)
LONGEST_TRANSACTION: Final = timedelta(minutes=10)
"""A pair that was last updated so long before a snapshot, or longer, stands in it as it is."""
LENGTHS: Final[dict[Window, timedelta]] = {"hour": timedelta(hours=1), "day": DAY, "week": 7 * DAY, "trend": DAY}


@dataclass(frozen=True, slots=True)
class Counted:
    """The most frequent pairs of a window.

    Attributes:
        since: the snapshot that the window is counted from; None where it is everything that was ever asked.
        before_since: of a trend, the snapshot that the day before is counted from; None where there is no day before.
    """

    rows: list[Row[Any]]
    since: datetime | None = None
    before_since: datetime | None = None


def count_window(connection: Connection, window: Window, now: datetime, *, intent: str | None, limit: int) -> Counted:
    """Keywords and intents of `window`, which ends at `now` (UTC without a zone), the most frequent or fastest rising first.

    Rows have ``keyword``, ``intent`` and ``total``, in windows also ``count``, in a trend also ``before`` and ``rise``: by
    how many standard deviations of a Poisson process the last day lies above the day before, at equal lengths.
    """
    total = counts.c.total
    wanted = [counts.c.intent == intent] if intent else []
    if window == "total":
        return Counted(_chosen(connection, {"updated_at": counts.c.updated_at}, {}, wanted, total, limit))
    since = _base(connection, now - LENGTHS[window])
    then, start = snapshots.alias("then"), snapshots.alias("start")
    count = total - func.coalesce(then.c.total, 0)
    wanted.append(count > 0)
    if since:
        wanted.append(counts.c.updated_at > since - LONGEST_TRANSACTION)  # the others are not looked up in the snapshot
    if window != "trend":
        return Counted(_chosen(connection, {"count": count}, {then: since}, wanted, count, limit), since)
    earlier = _base(connection, since - DAY) if since else None
    if since is None or earlier is None or earlier == since:
        earlier, scale = None, 0.0
    else:
        scale = (now - since) / (since - earlier)
    before = func.coalesce(then.c.total, 0) - func.coalesce(start.c.total, 0)
    expected = before * literal(scale)
    rise = (count - expected) / func.sqrt(expected + 1)
    wanted.append(rise > 0)
    shown = {"count": count, "before": before if earlier else literal(0), "rise": rise}
    return Counted(_chosen(connection, shown, {then: since, start: earlier}, wanted, rise, limit), since, earlier)


def _base(connection: Connection, moment: datetime) -> datetime | None:
    """The newest snapshot not younger than `moment`, else the oldest; None where there is none."""
    taken_at = snapshots.c.taken_at
    newest = connection.execute(select(func.max(taken_at)).where(taken_at <= moment)).scalar_one()
    oldest: datetime | None = newest or connection.execute(select(func.min(taken_at))).scalar_one()
    return oldest


def _chosen(
    connection: Connection,
    shown: Mapping[str, ColumnElement[Any]],
    bases: Mapping[Any, datetime | None],
    wanted: Sequence[ColumnElement[bool]],
    order: ColumnElement[Any],
    limit: int,
) -> list[Row[Any]]:
    """The `wanted` pairs with the largest `order`, joined with the snapshots `bases` at their moments."""
    source: Any = counts
    for base, taken_at in bases.items():
        pair = and_(base.c.keyword == counts.c.keyword, base.c.intent == counts.c.intent)
        source = source.outerjoin(base, and_(base.c.taken_at == taken_at, pair))
    columns = [column.label(name) for name, column in shown.items()]
    chosen = select(counts.c.keyword, counts.c.intent, counts.c.total, *columns).select_from(source).where(*wanted)
    return list(connection.execute(chosen.order_by(order.desc(), counts.c.keyword, counts.c.intent).limit(limit)))
