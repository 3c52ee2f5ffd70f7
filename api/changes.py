"""The changes of keyword counts as server-sent events (WHATWG HTML, "Server-sent events").

The topic `keyword.counts` is followed, from its end, only while somebody listens: a worker that is busy publishes thousands
of totals a second. What a client has not taken yet is one total per pair, so a slow one costs no more memory than there are
pairs.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from api.listening import Newest
from api.wire import Unavailable
from schema.envelope import Envelope
from schema.events import KeywordCounted
from schema.follower import Follower
from schema.settings import Settings
from schema.topics import KEYWORD_COUNTS

log = logging.getLogger(__name__)
KAFKA_SECONDS: Final = 5.0

Pair = tuple[str, str]
"""A keyword and an intent."""


class Listener(Newest[Pair, int]):
    """One client: the totals that changed since it was last told. `hear` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, intent: str | None) -> None:
        super().__init__(loop)
        self._intent = intent

    def hear(self, pair: Pair, total: int) -> None:
        """Remember a total, if it is of the intent that was asked for."""
        if self._intent in (None, pair[1]):
            self.tell(pair, total)


class Changes:
    """Everyone who listens, and the follower that they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: set[Listener] = set()
        self._follower: Follower[KeywordCounted] | None = None
        self._totals: dict[Pair, int] = {}
        self._turn = asyncio.Lock()
        self._closing = False

    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def close(self) -> None:
        """Let all streams end soon."""
        self._closing = True

    async def frames(self, intent: str | None) -> AsyncGenerator[bytes]:
        """The body of one client's stream; an empty frame says nothing but that time has passed.

        Raises:
            Unavailable: before the first frame, where the topic cannot be read.
        """
        async with self._listening(intent) as listener:
            async for frame in listener.frames(_frame, lambda: self._closing):
                yield frame

    def hear(self, envelope: Envelope[KeywordCounted]) -> None:
        """Tell one total. Totals only grow: a smaller one, published late by another worker, is not told."""
        said = envelope.data
        pair = (said.keyword, said.intent)
        if said.total > self._totals.get(pair, -1):
            self._totals[pair] = said.total
            for listener in tuple(self._listeners):
                listener.hear(pair, said.total)

    @asynccontextmanager
    async def _listening(self, intent: str | None) -> AsyncIterator[Listener]:
        listener = Listener(asyncio.get_running_loop(), intent)
        try:
            async with self._turn:
                self._listeners.add(listener)
                follower = await self._following()
            if not await asyncio.to_thread(follower.caught_up.wait, KAFKA_SECONDS):
                raise Unavailable("kafka_unavailable", f"{KEYWORD_COUNTS.stem} cannot be read")
            yield listener
        finally:
            async with self._turn:
                self._listeners.discard(listener)
                if not self._listeners:
                    await self._stop()

    async def _following(self) -> Follower[KeywordCounted]:
        """The follower, started where there is none, or where it has died."""
        if self._follower is not None:
            if self._follower.is_alive():
                return self._follower
            await self._stop()
        self._follower = Follower(self._settings, KEYWORD_COUNTS, KeywordCounted, self.hear, from_end=True)
        self._follower.start()
        return self._follower

    async def _stop(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            await asyncio.to_thread(follower.stop)
        self._totals.clear()


def _frame(pair: Pair, total: int) -> bytes:
    told = {"keyword": pair[0], "intent": pair[1], "total": total}
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode()
