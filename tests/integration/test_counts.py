"""Keyword counts of windows, the rollups and the stream of changes: exact under repeats, faults and several workers."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine, func, select

from api.app import make_app
from api.queue import choose, draw
from api.state import Api
from schema.database import in_transaction
from schema.events import Consent, KeywordCounted
from schema.keyword_windows import Window, count_window
from schema.producer import EventProducer
from schema.publisher import QuestionPublisher
from schema.settings import Settings
from schema.tables import intent_keyword_snapshots as snapshots
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import KEYWORD_COUNTS
from streams.questions import store_questions
from streams.snapshots import EVERY, take_snapshot
from tests.deliveries import HOUR, NOW, asked, assert_rollups_hold, batch, rows_of, store
from tests.running import Process, running, wait_until

ROOT = "/api/v1/model-tuning"
Client = TestClient[web.Request, web.Application]


def snapshot(engine: Engine, now: datetime) -> bool:
    return in_transaction(engine, partial(take_snapshot, now=now))


@pytest.fixture
def past(engine: Engine) -> Engine:
    """The database without the snapshot that the migration took, so that earlier ones can be taken."""
    with engine.begin() as connection:
        connection.execute(snapshots.delete())
    return engine


def counted(engine: Engine, window: Window, now: datetime, intent: str | None = None) -> dict[str, int]:
    """Count by keyword."""
    with engine.connect() as connection:
        found = count_window(connection, window, now, intent=intent, limit=100)
    return {row.keyword: row._mapping["total" if window == "total" else "count"] for row in found.rows}


def since(engine: Engine, window: Window, now: datetime) -> datetime | None:
    with engine.connect() as connection:
        return count_window(connection, window, now, intent=None, limit=1).since


def test_windows_count_what_came_since_their_snapshot(past: Engine) -> None:
    """Eight days, one more question each hour: each window counts its hours, and says since when."""
    begin = NOW - timedelta(days=8)
    for hours in range(8 * 24 + 1):
        now = begin + hours * HOUR
        assert snapshot(past, now)
        store(past, batch(asked("财运"), *([asked("跳槽", "career")] if hours % 24 == 0 else [])), now)
    assert counted(past, "total", now) == {"财运": 193, "跳槽": 9}
    assert counted(past, "hour", now) == {"财运": 2, "跳槽": 1}
    assert counted(past, "day", now) == {"财运": 25, "跳槽": 2}
    assert counted(past, "week", now) == {"财运": 169, "跳槽": 8}
    assert counted(past, "day", now, intent="career") == {"跳槽": 2}
    windows: dict[Window, timedelta] = {"hour": HOUR, "day": 24 * HOUR, "week": 168 * HOUR}
    assert {window: since(past, window, now) for window in windows} == {w: now - length for w, length in windows.items()}


def test_a_redelivered_question_is_in_no_window_twice(past: Engine) -> None:
    old, new = batch(*[asked("财运")] * 5), batch(*[asked("财运")] * 3, asked("跳槽"))
    store(past, old, NOW - 2 * HOUR)
    snapshot(past, NOW - HOUR)
    for _ in range(3):
        store(past, [*old, *new, *new])
        assert counted(past, "hour", NOW) == {"财运": 3, "跳槽": 1}
        assert counted(past, "total", NOW) == {"财运": 8, "跳槽": 1}


def test_a_system_younger_than_the_window_counts_from_its_beginning(engine: Engine) -> None:
    """The migration's own snapshot is that beginning; without any snapshot everything counts."""
    migrated = since(engine, "week", NOW)
    assert migrated is not None
    store(engine, batch(asked("财运")))
    assert counted(engine, "week", migrated + HOUR) == {"财运": 1}
    with engine.begin() as connection:
        connection.execute(snapshots.delete())
    assert since(engine, "week", NOW) is None
    assert counted(engine, "week", NOW) == counted(engine, "trend", NOW) == {"财运": 1}


def test_what_rises_fastest_is_compared_with_the_day_before(past: Engine) -> None:
    """Ten times as often beats a little more of much, and what falls is not there."""
    for days, said in ((2, {"财运": 100, "跳槽": 2, "桃花": 9}), (1, {"财运": 110, "跳槽": 20, "桃花": 3})):
        moment = NOW - days * 24 * HOUR
        assert snapshot(past, moment)
        store(past, batch(*(asked(word) for word, number in said.items() for _ in range(number))), moment + HOUR)
    with past.connect() as connection:
        trend = count_window(connection, "trend", NOW, intent=None, limit=10)
    assert [(row.keyword, row._mapping["count"], row.before) for row in trend.rows] == [("跳槽", 20, 2), ("财运", 110, 100)]
    assert trend.rows[0].rise == pytest.approx(18 / 3**0.5)
    assert (trend.since, trend.before_since) == (NOW - 24 * HOUR, NOW - 48 * HOUR)


def test_of_many_workers_one_takes_the_snapshot(past: Engine) -> None:
    """At once, again later in the same ten minutes, and in the next ten."""
    store(past, batch(asked("财运")))
    with ThreadPoolExecutor(8) as workers:
        for moment, taken in ((NOW, 1), (NOW + EVERY / 2, 0), (NOW + EVERY, 1)):
            assert sum(workers.map(lambda _, moment=moment: snapshot(past, moment), range(8))) == taken
    with past.connect() as connection:
        rows = connection.execute(select(snapshots.c.taken_at, snapshots.c.keyword, snapshots.c.total)).all()
    assert {row.taken_at for row in rows} >= {NOW, NOW + EVERY}
    assert [row.total for row in rows if row.taken_at == NOW + EVERY and row.keyword] == [1]


def test_a_snapshot_holds_no_worker_up_and_counts_only_what_is_committed(past: Engine) -> None:
    store(past, batch(asked("财运")), NOW - HOUR)
    with past.begin() as worker:
        store_questions(worker, rows_of(batch(asked("财运"), asked("跳槽")), NOW))
        assert snapshot(past, NOW)
    assert counted(past, "hour", NOW + HOUR) == {"财运": 1, "跳槽": 1}


def test_windows_and_rollups_hold_across_workers_kills_and_restarts(settings: Settings, past: Engine) -> None:
    """Two workers, one of them killed with -9 and started again, half of the events twice."""
    settings = settings.model_copy(update={"stream_batch": 100})
    other = settings.model_copy(update={"streams_port": settings.api_port})
    old = batch(*(asked("财运", user_id=f"u{n % 20}") for n in range(200)))
    store(past, old, NOW)
    assert snapshot(past, utc_now() - HOUR)
    new = batch(*(asked("跳槽" if n % 3 else "财运", user_id=f"u{n % 20}") for n in range(3000)))

    def total() -> int:
        with past.connect() as connection:
            return connection.execute(select(func.count()).select_from(questions)).scalar_one()

    with QuestionPublisher(settings, source="test") as publisher:
        for number, question in [*old, *new, *new[::2]]:
            publisher.publish(question, event_id=number)
    with Process(settings, "streams", settings.streams_port) as first, Process(other, "streams", other.streams_port) as second:
        wait_until(lambda: total() > 400, "some batches are stored", 60)
        first.kill()
        with Process(settings, "streams", settings.streams_port) as third:
            wait_until(lambda: total() == 3200, "all is stored", 60)
            third.ready()
        second.ready()
    now = utc_now()
    assert counted(past, "hour", now) == {"财运": 1000, "跳槽": 2000}
    assert counted(past, "total", now) == {"财运": 1200, "跳槽": 2000}
    assert assert_rollups_hold(past)["questions", "waiting"] == 3200


def test_random_questions_are_drawn_from_all_that_wait(engine: Engine) -> None:
    """None twice, none that does not wait, and each as likely as the others; also where few wait."""
    store(engine, batch(*(asked("财运", consent=Consent(training=n % 4 == 0)) for n in range(400))))
    waiting = set(range(1, 401, 4))
    seen = dict.fromkeys(waiting, 0)
    with engine.connect() as connection:
        kept = set(connection.execute(select(questions.c.id).where(questions.c.waiting_since.is_not(None))).scalars())
        assert len(kept) == len(waiting)
        seen = dict.fromkeys(kept, 0)
        for seed in range(60):
            found = draw(connection, 20, 100, Random(seed))
            assert len(set(found)) == 20
            for number in found:
                seen[number] += 1
        assert min(seen.values()) > 0
        assert max(seen.values()) < 35
        assert set(draw(connection, 200, 100, Random(1))) == set(choose(connection, "random", 200, 100)) == kept


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    made = Api(settings)
    made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened


async def test_the_api_tells_windows_and_since_when(client: Client, past: Engine) -> None:
    await asyncio.to_thread(store, past, batch(asked("财运")))
    moment = utc_now() - HOUR
    assert await asyncio.to_thread(snapshot, past, moment)
    await asyncio.to_thread(store, past, batch(asked("跳槽", "career"), asked("财运")))

    async def get(query: str, status: int = 200) -> Any:
        async with client.get(f"{ROOT}/keywords/counts{query}") as response:
            assert response.status == status
            return await response.json()

    total = await get("")
    assert (total["window"], total["since"], [c["total"] for c in total["counts"]]) == ("total", None, [2, 1])
    hour = await get("?window=hour")
    assert datetime.fromisoformat(hour["since"]).replace(tzinfo=None) == moment
    told = [(c["keyword"], c["intent"], c["count"], c["total"]) for c in hour["counts"]]
    assert told == [("财运", "wealth", 1, 2), ("跳槽", "career", 1, 1)]
    assert [c["keyword"] for c in (await get("?window=hour&intent=career&limit=1"))["counts"]] == ["跳槽"]
    assert {"count", "before", "rise", "total"} <= (await get("?window=trend"))["counts"][0].keys()
    assert (await get("?window=month", 422))["error"]["field"] == "window"


def produce(settings: Settings, totals: dict[str, int]) -> None:
    """Publish totals as a worker does."""
    with EventProducer(settings, source="test") as producer:
        for keyword, total in totals.items():
            said = {"keyword": keyword, "intent": "wealth", "total": total, "updated_at": datetime.now(UTC)}
            producer.send(KEYWORD_COUNTS, KeywordCounted.model_validate(said), key=f"wealth/{keyword}").result(10)


async def next_change(stream: ClientResponse) -> Any:
    async with asyncio.timeout(20):
        async for line in stream.content:
            if line.startswith(b"data: "):
                return json.loads(line[6:])
    raise AssertionError("the stream ended")


async def test_changes_are_streamed_to_all_who_listen_and_one_who_leaves_disturbs_nobody(
    api: Api, client: Client, settings: Settings
) -> None:
    await asyncio.to_thread(produce, settings, {"以前": 7})
    url = f"{ROOT}/keywords/counts/stream"
    async with (
        client.get(url) as first,
        client.get(f"{url}?intent=career") as other,
        client.get(f"{url}?intent=wealth") as leaving,
    ):
        assert first.headers["Content-Type"] == "text/event-stream"
        for stream in (first, other, leaving):
            assert await stream.content.readline() == b": connected\n"
        await asyncio.to_thread(produce, settings, {"财运": 3})
        told = {"keyword": "财运", "intent": "wealth", "total": 3}
        assert await next_change(first) == told, "nothing from before it connected"
        assert await next_change(leaving) == told
        leaving.close()
        await asyncio.to_thread(produce, settings, {"财运": 4})
        assert (await next_change(first))["total"] == 4
        await wait_for(lambda: api.changes.listeners() == 2, "the one that left is forgotten")
    await wait_for(lambda: api.changes.listeners() == 0, "nobody listens")


async def wait_for(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


def test_streams_end_when_the_api_ends(settings: Settings) -> None:
    """An open stream does not hold SIGTERM up, and the client sees an orderly end."""
    with running(settings, "api") as processes:
        connection = http.client.HTTPConnection("127.0.0.1", settings.api_port, timeout=30)
        connection.request("GET", f"{ROOT}/keywords/counts/stream")
        response = connection.getresponse()
        assert response.readline() == b": connected\n"
        processes["api"].child.terminate()
        assert response.read().strip() == b""
        assert processes["api"].end(15) == 0
        connection.close()
