"""Search finds Chinese however it is written, keeps to consent, and pages through everything once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine

from api.app import make_app
from api.search import look_through
from api.state import Api
from schema.settings import Settings
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.taxonomy import INTENTS
from tests.integration.labelling import Client, call
from tests.integration.test_api import add_question


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    made = Api(settings)
    async with TestClient(TestServer(make_app(made))) as opened:
        yield opened
    await made.close()


async def find(client: Client, **query: Any) -> list[int]:
    told = await call(client, "GET", f"/questions?{urlencode(query)}")
    return [row["id"] for row in told["questions"]]


async def test_chinese_is_found_in_every_form(client: Client, engine: Engine) -> None:
    texts = ("今年事业怎么样", "我的姻緣在哪裡", "ＩＮＦＪ的姻缘", "头发和發財", "买房？100%", "事 业")
    for text in texts:
        add_question(engine, text)
    for words, found in (
        ("事业", [1]),
        ("事業", [1]),
        ("姻缘", [3, 2]),
        ("姻緣", [3, 2]),
        ("infj", [3]),
        ("ｉｎｆｊ", [3]),
        ("头髮", [4]),
        ("发财", [4]),
        ("買房?", [5]),
        ("100%", [5]),
        ("100_", []),
        (".*", []),
        ("[事]", []),
        ("\\", []),
    ):
        assert await find(client, q=words) == found, words


async def test_every_filter_narrows(client: Client, engine: Engine) -> None:
    now = utc_now()
    add_question(engine, "一", intents=["wealth", "career"], confidence=Decimal("0.9"), asked_at=now - timedelta(days=9))
    add_question(engine, "二", method="llm_fallback", model_version="v1", confidence=Decimal("0.2"))
    add_question(engine, "三", is_labeled=True, correct_intent=["health"], labeler_id="ann", labeled_at=now)
    add_question(engine, "四", consent_training=False, training_status="skipped")
    add_question(engine, "五")
    add_question(engine, "六")
    await call(client, "POST", "/questions/5/skip", {"labeler_id": "ann"})
    await call(client, "POST", "/questions/6/flag", {"labeler_id": "bob", "comment": "?"})
    day = (now - timedelta(days=5)).isoformat()
    for query, found in (
        ({}, [6, 5, 3, 2, 1]),
        ({"intent": "career"}, [1]),
        ({"intent": "health"}, [3]),
        ({"intent": "wealth"}, [6, 5, 2, 1]),
        ({"method": "llm_fallback"}, [2]),
        ({"version": "v1"}, [2]),
        ({"min_confidence": 0.6}, [1]),
        ({"max_confidence": 0.3}, [2]),
        ({"status": "labeled"}, [3]),
        ({"status": "open"}, [5, 2, 1]),
        ({"status": "skipped"}, [5]),
        ({"status": "skipped", "labeler": "bob"}, []),
        ({"status": "flagged"}, [6]),
        ({"status": "flagged", "labeler": "bob"}, [6]),
        ({"labeler": "ann"}, [3]),
        ({"to": day}, [1]),
        ({"from": day}, [6, 5, 3, 2]),
    ):
        assert await find(client, **query) == found, query
    rows = (await call(client, "GET", "/questions"))["questions"]
    assert [row["status"] for row in rows] == ["flagged", "open", "labeled", "open", "open"]
    assert "user_id" not in rows[0]
    for wrong in ({"intent": "luck"}, {"cursor": "x"}, {"limit": 0}, {"status": "gone"}, {"q": ""}):
        await call(client, "GET", f"/questions?{urlencode(wrong)}", status=422)


@pytest.mark.parametrize("seconds", [0.3, 0.0])
async def test_pages_hold_every_question_once(engine: Engine, seconds: float) -> None:
    """Also where there is no time to find anything: each request then looks at one stretch."""
    for n in range(9):
        add_question(engine, "财运" if n % 3 else "事业")
    found, before, looks = [], None, 0
    while looks < 100:
        with engine.connect() as connection:
            condition = questions.c.question == "事业"
            told = look_through(connection, condition, before, 2, None, seconds=seconds, stretch=2)
        found += [row["id"] for row in told["questions"]]
        looks += 1
        if told["next_cursor"] is None:
            break
        before = int(told["next_cursor"])
    assert found == [7, 4, 1]
    assert looks == (2 if seconds else 5)


async def test_the_guidelines_name_every_intent(client: Client) -> None:
    told = await call(client, "GET", "/guidelines")
    assert [one["name"] for one in told["intents"]] == list(INTENTS)
    assert all(one["chinese"] and one["guideline"] and len(one["examples"]) >= 3 for one in told["intents"])
    assert told["border_cases"]
