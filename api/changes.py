"""The changes of keyword counts as server-sent events (WHATWG HTML, "Server-sent events").

The topic `keyword.counts` is followed, from its end, only while somebody listens: a worker that is busy publishes thousands
of totals a second. What a client has not taken yet is one total per pair, so a slow one costs no more memory than there are
pairs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from api.wire import Unavailable
from schema.envelope import Envelope
from schema.events import KeywordCounted
from schema.follower import Follower
from schema.settings import Settings
from schema.topics import KEYWORD_COUNTS

log = logging.getLogger(__name__)
FLUSH_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 1.0
"""So often a stream on which nothing happens gives way, so that a client that went away is noticed."""
HEARTBEAT_SECONDS: Final = 15.0
KAFKA_SECONDS: Final = 5.0

Pair = tuple[str, str]
"""A keyword and an intent."""


class Listener:
    """One client: the totals that changed since it was last told. `hear` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, intent: str | None) -> None:
        self._loop = loop
        self._intent = intent
        self._lock = threading.Lock()
        self._waiting: dict[Pair, int] = {}
        self._changed = asyncio.Event()

    def hear(self, pair: Pair, total: int) -> None:
        """Remember a total, in the place of an earlier one of the same pair."""
        if self._intent is not None and pair[1] != self._intent:
            return
        with self._lock:
            first = not self._waiting
            self._waiting[pair] = total
        if first:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def take(self, seconds: float) -> dict[Pair, int]:
        """What changed; waits for it at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return {}
        self._changed.clear()
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken


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
        """Let all streams end within `LOOK_SECONDS`."""
        self._closing = True

    async def frames(self, intent: str | None) -> AsyncGenerator[bytes]:
        """The body of one client's stream; an empty frame says nothing but that time has passed.

        Raises:
            Unavailable: before the first frame, where the topic cannot be read.
        """
        async with self._listening(intent) as listener:
            yield b": connected\n\n"
            loop = asyncio.get_running_loop()
            told_at = loop.time()
            while not self._closing:
                if taken := await listener.take(LOOK_SECONDS):
                    told_at = loop.time()
                    yield b"".join(_frame(pair, total) for pair, total in taken.items())
                    await asyncio.sleep(FLUSH_SECONDS)
                elif loop.time() - told_at >= HEARTBEAT_SECONDS:
                    told_at = loop.time()
                    yield b": still here\n\n"
                else:
                    yield b""

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
