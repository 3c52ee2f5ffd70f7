"""A lane: from batches that were read to batches that are acknowledged, in their order, with several under way at once.

read -> [storing, up to `depth`] -> stored -> [published together, every two seconds] -> acked

A batch is acked when it is committed, its dead letters and totals are with the broker, and every batch before it is acked.
Totals are absolute and read after the commit, so several batches that settle together send each total once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from streams.records import Outcome, Record

PUBLISH_SECONDS: Final = 2.0
MOST_UNSETTLED: Final = 20_000
"""Records that are not acked, after which no more are taken before all that is stored is published."""

Store = Callable[[Sequence[Record]], Awaitable[Outcome]]
"""Stores a batch in one transaction, and tries again while something is away."""
Publish = Callable[[Sequence[Outcome]], Awaitable[None]]
"""Sends what the batches refused and what they counted; returns once the broker has all of it."""


@dataclass(slots=True)
class _Batch:
    events: Sequence[Any]
    began: float
    stored: asyncio.Task[Outcome]


@dataclass
class Lane:
    """The batches of one agent that are under way.

    Attributes:
        settled: called with the events and the outcome of each batch, in order, to ack them.
        depth: batches that are stored at once.
    """

    store: Store
    publish: Publish
    settled: Callable[[Sequence[Any], Outcome, float], None]
    depth: int = 1
    _storing: asyncio.Semaphore = field(init=False)
    _unsettled: deque[_Batch] = field(init=False, default_factory=deque)
    _changed: asyncio.Condition = field(init=False, default_factory=asyncio.Condition)
    _published_at: float = field(init=False, default=0.0)
    _records: int = field(init=False, default=0)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._storing = asyncio.Semaphore(self.depth)

    async def room(self) -> bool:
        """Wait until another batch may be stored; False once the lane is closed."""
        await self._storing.acquire()  # for ever once a batch has failed: what came later is not stored before it
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._records < MOST_UNSETTLED)
        return not self._closed

    async def take(self, events: Sequence[Any], records: Sequence[Record]) -> None:
        """Begin to store a batch; the caller has waited for `room`."""
        task = asyncio.ensure_future(self.store(records))
        task.add_done_callback(self._stored)
        async with self._changed:
            self._unsettled.append(_Batch(events, time.monotonic(), task))
            self._records += len(records)
            self._changed.notify_all()

    def _stored(self, task: asyncio.Task[Outcome]) -> None:
        # An exception is seen here: of several batches that fail together, `settle` raises the first one's.
        if not task.cancelled() and task.exception() is None:
            self._storing.release()

    async def settle(self) -> None:
        """Publish and ack what is stored, for ever.

        Raises:
            TransientError: a batch could not be stored, or the broker did not take what it publishes; it is not acked.
        """
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._unsettled))
            await self._unsettled[0].stored
            with suppress(TimeoutError):
                async with asyncio.timeout(self._published_at + PUBLISH_SECONDS - time.monotonic()), self._changed:
                    await self._changed.wait_for(lambda: self._closed or self._records >= MOST_UNSETTLED)
            done = list(takewhile(lambda batch: batch.stored.done(), self._unsettled))
            outcomes = [batch.stored.result() for batch in done]
            await self.publish(outcomes)
            self._published_at = time.monotonic()
            for batch, outcome in zip(done, outcomes, strict=True):
                self.settled(batch.events, outcome, batch.began)
            async with self._changed:
                for _ in done:
                    self._records -= len(self._unsettled.popleft().events)
                self._changed.notify_all()

    async def close(self) -> None:
        """Take nothing more, and wait until everything taken is acked."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        await self.drain()

    async def drain(self) -> None:
        """Wait until everything taken is acked."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._unsettled)

    @property
    def oldest(self) -> float | None:
        """When the oldest batch that is not acked was taken (``time.monotonic``); None where there is none."""
        return self._unsettled[0].began if self._unsettled else None
