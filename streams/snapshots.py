"""Snapshots of the keyword counts, which `schema.keyword_windows` counts from: one every ten minutes, whoever takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, func, insert, literal, select

from schema.database import hold_lock, in_transaction
from schema.errors import TransientError
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_snapshots as snapshots
from schema.tables import utc_now

log = logging.getLogger(__name__)
EVERY: Final = timedelta(minutes=10)
ALL_KEPT: Final = timedelta(hours=3)
"""For so long every snapshot is kept, then the first of each hour."""
HOURLY_KEPT: Final = timedelta(days=8)
LOOK_SECONDS: Final = 60.0


def add_snapshot_timer(app: Any, engine: Engine, threads: Executor) -> None:
    """Let the Faust app `app` look every minute whether a snapshot is due. Every worker does: whoever is first takes it."""

    @app.timer(LOOK_SECONDS)  # type: ignore[untyped-decorator]
    async def snapshot() -> None:
        work = partial(in_transaction, engine, partial(take_snapshot, now=utc_now()))
        try:
            await asyncio.get_running_loop().run_in_executor(threads, work)
        except TransientError as error:
            log.warning("no snapshot of the keyword counts, trying again in a minute: %s", error)


def take_snapshot(connection: Connection, now: datetime) -> bool:
    """Take the snapshot of the ten minutes that `now` is in, and drop what is too many; returns whether it was still missing.

    A repeat does nothing, and so does another worker that comes second.
    """
    if not _is_due(connection, now):
        return False
    hold_lock(connection, "snapshot")
    if not _is_due(connection, now):
        return False
    connection.execute(snapshots.insert(), {"taken_at": now, "keyword": "", "intent": "", "total": 0})
    taken_at = literal(now, snapshots.c.taken_at.type)
    names = ["taken_at", "keyword", "intent", "total"]
    connection.execute(insert(snapshots).from_select(names, select(taken_at, counts.c.keyword, counts.c.intent, counts.c.total)))
    if too_many := expendable(_moments(connection), now):
        connection.execute(delete(snapshots).where(snapshots.c.taken_at.in_(too_many)))
    return True


def _is_due(connection: Connection, now: datetime) -> bool:
    """Whether the ten minutes that `now` is in have no snapshot yet."""
    newest = connection.execute(select(func.max(snapshots.c.taken_at))).scalar_one()
    return newest is None or newest < now - (now - datetime.min) % EVERY


def _moments(connection: Connection) -> list[datetime]:
    """When snapshots were taken, in order: one look into the index for each, as DISTINCT would read every row."""
    taken_at = snapshots.c.taken_at
    found: list[datetime] = []
    after = datetime.min.replace(year=1000)  # the first that the database knows
    while moment := connection.execute(select(func.min(taken_at)).where(taken_at > after)).scalar_one():
        found.append(moment)
        after = moment
    return found


def expendable(moments: Sequence[datetime], now: datetime) -> list[datetime]:
    """Those of the snapshots at `moments`, in order, that no window will need. Pure.

    The newest of those that are too old is kept: after a long pause it is the only one that a week can be counted from.
    """
    old = [moment for moment in moments if moment <= now - ALL_KEPT]
    hourly: dict[datetime, datetime] = {}
    for moment in old:
        hourly.setdefault(moment.replace(minute=0, second=0, microsecond=0), moment)
    too_old = [moment for moment in hourly.values() if moment <= now - HOURLY_KEPT][:-1]
    return sorted(set(old) - set(hourly.values()) | set(too_old))
