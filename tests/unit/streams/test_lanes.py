"""Batches are acked in their order, only once stored and published, and none after one that failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from schema.dead_letters import Origin
from schema.errors import TransientError
from streams.lanes import MOST_UNSETTLED, PUBLISH_SECONDS, Lane
from streams.records import Outcome, Record

RECORD = Record(Origin("t", 0, 0, "test", 0), None, None, [])


class Storage:
    """Stores a batch when told to; keeps what was published and acked."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Outcome]] = []
        self.published: list[Outcome] = []
        self.acked: list[str] = []

    async def store(self, _: Sequence[Record]) -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return await future

    async def publish(self, outcomes: Sequence[Outcome]) -> None:
        self.published += outcomes

    def settled(self, events: Sequence[Any], _: Outcome, __: float) -> None:
        self.acked += events


async def rounds(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_batches_are_acked_in_order_however_they_are_stored() -> None:
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=2)
    settling = asyncio.create_task(lane.settle())
    for name in ("a", "b"):
        assert await lane.room()
        await lane.take([name], [RECORD])
    await rounds()
    storage.waiting[1].set_result(Outcome())
    await rounds()
    assert storage.acked == [], "b is stored, but a is not"
    storage.waiting[0].set_result(Outcome())
    await lane.drain()
    assert storage.acked == ["a", "b"]
    assert len(storage.published) == 2
    settling.cancel()


async def test_no_more_batches_are_stored_at_once_than_the_depth() -> None:
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=1)
    assert await lane.room()
    await lane.take(["a"], [RECORD])
    second = asyncio.create_task(lane.room())
    await rounds()
    assert not second.done()
    storage.waiting[0].set_result(Outcome())
    assert await second


async def test_after_a_failure_nothing_is_acked() -> None:
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=2)
    settling = asyncio.create_task(lane.settle())
    for name in ("a", "b"):
        assert await lane.room()
        await lane.take([name], [RECORD])
    await rounds()
    storage.waiting[1].set_result(Outcome())
    storage.waiting[0].set_exception(TransientError("away"))
    with pytest.raises(TransientError):
        await settling
    assert storage.acked == []


async def test_after_a_failure_nothing_more_is_stored() -> None:
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=1)
    assert await lane.room()
    await lane.take(["a"], [RECORD])
    await rounds()
    storage.waiting[0].set_exception(TransientError("away"))
    more = asyncio.create_task(lane.room())
    await rounds()
    assert not more.done()
    more.cancel()


async def test_a_closed_lane_takes_nothing_more() -> None:
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=2)
    settling = asyncio.create_task(lane.settle())
    assert await lane.room()
    await lane.take(["a"], [RECORD])
    closing = asyncio.create_task(lane.close())
    await rounds()
    assert not closing.done(), "a is under way"
    assert not await lane.room()
    storage.waiting[0].set_result(Outcome())
    await closing
    assert storage.acked == ["a"]
    settling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await settling


async def test_a_lane_that_is_full_of_small_batches_settles_before_its_time() -> None:
    """So that they do not wait for the next publication: it comes at once, and there is room again."""
    storage = Storage()
    lane = Lane(storage.store, storage.publish, storage.settled, depth=2)
    settling = asyncio.create_task(lane.settle())

    async def stored(name: str, number: int) -> None:
        assert await lane.room()
        await lane.take([name] * number, [RECORD] * number)
        await rounds()
        storage.waiting[-1].set_result(Outcome())

    async with asyncio.timeout(PUBLISH_SECONDS / 2):
        await stored("first", 1)
        await lane.drain()
        for _ in range(3):
            await stored("many", MOST_UNSETTLED // 2)
        assert await lane.room()
    assert storage.acked.count("many") >= MOST_UNSETTLED
    settling.cancel()
