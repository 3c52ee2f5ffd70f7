"""Two labelers at once never get the same question: leases, groups, what is skipped, and the blind share."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine, select, update

from api.app import make_app
from api.groups import in_share
from api.state import Api
from schema.settings import Settings
from schema.tables import intent_leases as leases
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.text import text_hash
from streams.rollups import refill
from tests.integration.labelling import Client, call, next_work
from tests.integration.test_api import add_question

STEMS = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    api = Api(settings.model_copy(update={"blind_share": 0.0, "review_share": 0.0}))
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened
    await api.close()


def ids(items: list[dict[str, object]]) -> list[object]:
    return [item["id"] for item in items]


async def test_what_one_labeler_holds_nobody_else_gets(client: Client, engine: Engine) -> None:
    for n in range(5):
        add_question(engine, f"财运{chr(0x4E00 + n)}", confidence=Decimal("0.1") * (n + 1))
    assert ids(await next_work(client, "ann", 2)) == [1, 2]
    assert ids(await next_work(client, "bob", 2)) == [3, 4]
    again = await next_work(client, "ann", 3)
    assert ids(again) == [1, 2, 5], "what she holds comes first"
    assert ids(await next_work(client, "bob", 9)) == [3, 4]
    assert await call(client, "POST", "/work/release", {"question_ids": [1, 2, 3]}, by="ann") == {"success": True, "released": 2}
    assert ids(await next_work(client, "bob", 3)) == [3, 4, 1]
    [item] = [item for item in again if item["id"] == 1]
    assert item["prediction"]["intents"] == ["wealth"]
    assert (item["prediction"]["method"], item["prediction"]["confidence"], item["blind"]) == ("local_model", 0.1, False)


async def test_a_lease_expires_and_asking_again_renews_it(client: Client, engine: Engine) -> None:
    add_question(engine, "今年财运如何")
    [first] = await next_work(client, "ann")
    [second] = await next_work(client, "ann")
    assert second["lease_expires_at"] > first["lease_expires_at"]
    assert await next_work(client, "bob") == []
    with engine.begin() as connection:
        connection.execute(update(leases).values(expires_at=utc_now() - timedelta(seconds=1)))
    assert ids(await next_work(client, "bob")) == [1]
    assert await next_work(client, "ann") == []


async def test_copies_are_one_group_and_held_together(client: Client, engine: Engine) -> None:
    old = utc_now() - timedelta(days=40)
    for text, changes in (
        ("今年财运如何？", {}),
        ("今年財運如何", {"created_at": old}),
        ("今年财运如何", {"consent_training": False, "training_status": "skipped"}),
        ("今年财运如何!!", {"is_labeled": True, "correct_intent": ["wealth"]}),
        ("明年财运如何", {}),
    ):
        add_question(engine, text, **changes)
    items = await next_work(client, "ann", 1, strategy="oldest")
    assert [(item["group_size"], item["group_ids"]) for item in items] == [(2, [1, 2])]
    assert [item["group_ids"] for item in await next_work(client, "bob")] == [[5]]


async def test_filters_choose_what_is_handed_out(client: Client, engine: Engine) -> None:
    add_question(engine, "我的頭髮", intents=["health"], confidence=Decimal("0.9"))
    add_question(engine, "今年ＣＡＲ运", intents=["wealth"], confidence=Decimal("0.2"), method="llm_fallback")
    for filters, found in (
        ({"q": "头发"}, [1]),
        ({"q": "car"}, [2]),
        ({"intent": "health"}, [1]),
        ({"method": "llm_fallback"}, [2]),
        ({"min_confidence": 0.5}, [1]),
        ({"max_confidence": 0.5, "q": "头发"}, []),
        ({"version": "v0", "from": "2020-01-01"}, [1, 2]),
        ({"to": "2020-01-01T00:00:00Z"}, []),
    ):
        assert ids(await next_work(client, "ann", filters=filters)) == found, filters


async def test_a_share_comes_without_the_answer_of_the_model(settings: Settings, engine: Engine) -> None:
    texts = [f"财运{chr(0x4E00 + n)}" for n in range(40)]
    for text in texts:
        add_question(engine, text)
    api = Api(settings.model_copy(update={"blind_share": 0.3, "review_share": 0.0}))
    async with TestClient(TestServer(make_app(api))) as client:
        items = await next_work(client, "ann", 40)
    await api.close()
    hidden = {item["question"] for item in items if item["blind"]}
    assert hidden == {text for text in texts if in_share(text_hash(text), 0.3, "blind")}
    assert 0 < len(hidden) < 40
    assert all((item["prediction"] is None) is item["blind"] for item in items)


async def test_many_labelers_at_once_never_get_the_same_question(client: Client, engine: Engine) -> None:
    """Twelve labelers ask, give some back, and ask again, with all strategies; at every moment each group has one holder."""
    now = utc_now()
    rows = [
        {
            "event_id": n.to_bytes(16, "big"),
            "question": (text := f"财运{STEMS[n // 2 % 22]}{STEMS[n // 44]}"),
            "text_hash": text_hash(text),
            "intents": ["wealth"],
            "confidence": Decimal("0.5"),
            "method": "local_model",
            "consent_training": True,
            "consent_stated": True,
            "asked_at": now,
            "created_at": now,
            "updated_at": now,
        }
        for n in range(600)
    ]
    with engine.begin() as connection:
        connection.execute(questions.insert(), rows)
        refill(connection)
    held: dict[str, set[int]] = {}
    chance = random.Random(7)

    async def labeler(name: str) -> None:
        for strategy in ("mixed", "uncertain", "random", "newest", "oldest"):
            items = await next_work(client, name, 12, strategy=strategy)
            mine = {number for item in items for number in item["group_ids"]}
            assert len(items) == 12
            assert held.get(name, set()) <= mine
            held[name] = mine
            seen = Counter(number for others in held.values() for number in others)
            assert max(seen.values()) == 1
            given = chance.sample(sorted(mine), 5)
            groups = {(number - 1) // 2 for number in given}
            held[name] = {number for number in mine if (number - 1) // 2 not in groups}
            told = await call(client, "POST", "/work/release", {"question_ids": given}, by=name)
            assert told["released"] == len(groups)

    await asyncio.gather(*(labeler(f"labeler-{n}") for n in range(12)))
    with engine.connect() as connection:
        assert len(connection.execute(select(leases.c.text_hash)).all()) == sum(len(mine) for mine in held.values()) // 2


async def test_who_asks_must_be_said(client: Client) -> None:
    told = await call(client, "POST", "/work/next", {}, status=422)
    assert (told["error"]["code"], told["error"]["field"]) == ("missing_field", "X-Labeler")
    told = await call(client, "POST", "/work/release", {"question_ids": [1]}, by="x" * 65, status=422)
    assert told["error"]["field"] == "X-Labeler"
    assert await next_work(client, "%E5%BC%A0%E4%B8%89") == []
