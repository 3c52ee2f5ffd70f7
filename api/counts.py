"""Keyword counts: of all time, of windows, what rises, and a stream of what changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from sqlalchemy import Connection

from api.inputs import CountListing, IntentChoice
from api.state import Api
from api.wire import Call, Nothing
from schema.keyword_windows import count_window
from schema.tables import utc_now


async def keyword_counts(api: Api, call: Call[Nothing, CountListing]) -> dict[str, Any]:
    """How often a keyword stood with an intent, the most frequent first; with ``window=trend`` what rises fastest.

    A window is counted from the snapshot at ``since``, at most ten minutes (of a day or week: an hour) older than the window
    is long. ``rise``: by how many standard deviations the last day lies above the day before.
    """
    asked = call.query

    def work(connection: Connection) -> dict[str, Any]:
        found = count_window(connection, asked.window, utc_now(), intent=asked.intent, limit=asked.limit)
        told: dict[str, Any] = {"window": asked.window, "since": found.since}
        if asked.window == "trend":
            told["before_since"] = found.before_since
        return told | {"counts": [dict(row._mapping) for row in found.rows]}

    return await api.database(work)


async def keyword_changes(api: Api, call: Call[Nothing, IntentChoice]) -> AsyncGenerator[bytes]:
    """Server-sent events: each changed total as ``{"keyword", "intent", "total"}``, at most four times a second.

    Totals are absolute: take them as they come, and ask for the counts once after connecting.
    """
    return api.changes.frames(call.query.intent)
