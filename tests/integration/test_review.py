"""Two blind opinions, and what a reviewer makes of disagreements, flags and suspects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine, select

from api.app import make_app
from api.state import Api
from schema.settings import Settings
from schema.tables import intent_label_suspects as suspects
from schema.tables import intent_question_marks as marks
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from tests.integration.labelling import Client, apply_sent, call, next_work
from tests.integration.test_api import add_question


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """An API where every question goes to two people."""
    api = Api(settings.model_copy(update={"blind_share": 0.0, "review_share": 1.0}))
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened
    await api.close()


async def answer(client: Client, number: int, by: str, *intents: str) -> None:
    body = {"correct_intent": list(intents), "labeler_id": by, "apply_to_group": True}
    await call(client, "POST", f"/questions/{number}/label", body, status=202)


async def both_answer(client: Client, engine: Engine, settings: Settings, said: dict[str, list[list[str]]]) -> None:
    """Ann, then bob, answer the questions as they get them; `said`: what they say, in the order of the ids."""
    for by, answers in said.items():
        items = await next_work(client, by, 50)
        assert sorted(item["id"] for item in items) == list(range(1, len(answers) + 1))
        assert all(item["blind"] and item["prediction"] is None for item in items)
        for item in items:
            await answer(client, item["id"], by, *answers[item["id"] - 1])
        await apply_sent(engine, settings)


def label_of(engine: Engine, number: int) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(questions.c.correct_intent).where(questions.c.id == number)).scalar_one()


async def review(client: Client, number: int, action: str, *, status: int = 202, **more: Any) -> dict[str, Any]:
    return await call(client, "POST", f"/review/{number}", {"action": action, "labeler_id": "rev"} | more, status=status)


async def test_a_share_goes_to_two_people_blind_and_to_no_third(client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何")
    [item] = await next_work(client, "ann")
    assert (item["blind"], item["prediction"]) == (True, None)
    await answer(client, 1, "ann", "wealth")
    assert await next_work(client, "bob") == [], "not before the first label is applied"
    await apply_sent(engine, settings)
    assert await next_work(client, "ann") == [], "nobody answers twice"
    [item] = await next_work(client, "bob")
    assert (item["id"], item["blind"], item["prediction"], item["group_ids"]) == (1, True, None, [1])
    assert "wealth" not in str(item)
    assert await next_work(client, "cat") == [], "bob holds it"
    await answer(client, 1, "bob", "wealth")
    await apply_sent(engine, settings)
    assert await next_work(client, "cat") == []
    assert (await call(client, "GET", "/review"))["items"] == []
    assert (await call(client, "GET", "/agreement"))["questions"] == 1


async def test_agreement_is_told_per_intent_and_pair(client: Client, engine: Engine, settings: Settings) -> None:
    for text in ("甲", "乙", "丙", "丁"):
        add_question(engine, text)
    said = {
        "ann": [["wealth"], ["wealth"], ["career"], ["career"]],
        "bob": [["wealth"], ["career"], ["wealth"], ["career"]],
    }
    await both_answer(client, engine, settings, said)
    told = await call(client, "GET", "/agreement")
    assert told["questions"] == 4
    assert told["pairs"] == [{"a": "ann", "b": "bob", "kappa": 0.0, "n": 4}]
    assert told["per_intent"]["wealth"] == {"kappa": 0.0, "n": 3}
    assert told["per_intent"]["health"] == {"kappa": None, "n": 0}
    assert told["alpha"] == 0.125
    items = (await call(client, "GET", "/review?kind=disagreement"))["items"]
    assert [item["id"] for item in items] == [2, 3]
    assert [(one["labeler_id"], one["intents"]) for one in items[0]["answers"]] == [("ann", ["wealth"]), ("bob", ["career"])]
    assert (items[0]["current"], items[0]["kind"]) == (["career"], "disagreement")


async def test_a_reviewer_accepts_corrects_and_sends_back(client: Client, engine: Engine, settings: Settings) -> None:
    for text in ("甲", "乙", "丙", "甲！"):
        add_question(engine, text)
    for by, intent in (("ann", "wealth"), ("bob", "career")):
        items = await next_work(client, by)
        assert len(items) == 3
        for item in items:
            await answer(client, item["id"], by, intent)
        await apply_sent(engine, settings)
    assert [item["id"] for item in (await call(client, "GET", "/review"))["items"]] == [1, 2, 3]
    assert (await review(client, 1, "correct", status=422))["error"]["field"] == "correct_intent"
    told = await review(client, 1, "correct", correct_intent=["health"])
    assert told["question_ids"] == [1, 4]
    await review(client, 2, "accept")
    await review(client, 3, "send_back", comment="再看看")
    await apply_sent(engine, settings)
    assert [label_of(engine, number) for number in (1, 2, 3, 4)] == [["health"], ["career"], None, ["health"]]
    assert (await call(client, "GET", "/review"))["items"] == []
    assert [item["id"] for item in await next_work(client, "ann")] == [3]
    assert (await call(client, "GET", "/agreement"))["questions"] == 3, "what was said blind stays said"
    assert (await review(client, 9, "accept", status=404))["error"]["code"] == "unknown_question"


async def test_flags_are_reviewed(client: Client, engine: Engine, settings: Settings) -> None:
    for text in ("甲", "乙", "丙"):
        add_question(engine, text)
        number = len((await call(client, "GET", "/questions"))["questions"])
        body = {"labeler_id": "ann", "comment": f"看不懂{number}"}
        await call(client, "POST", f"/questions/{number}/flag", body)
    told = await call(client, "GET", "/review?limit=2")
    assert [(item["id"], item["kind"], item["comment"], item["answers"]) for item in told["items"]] == [
        (1, "flag", "看不懂1", []),
        (2, "flag", "看不懂2", []),
    ]
    rest = await call(client, "GET", f"/review?limit=2&cursor={told['next_cursor']}")
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([3], None)
    await review(client, 1, "accept")
    await review(client, 2, "send_back")
    await review(client, 3, "correct", correct_intent=["non_fortune"])
    assert (await call(client, "GET", "/review"))["items"] == []
    await apply_sent(engine, settings)
    assert [item["id"] for item in await next_work(client, "bob")] == [2], "an accepted flag stays out of the queue"
    assert label_of(engine, 3) == ["non_fortune"]
    undo = await call(client, "POST", "/questions/1/undo", {"labeler_id": "ann"}, status=409)
    assert undo["error"]["code"] == "reviewed"
    with engine.connect() as connection:
        assert connection.execute(select(marks.c.kind).where(marks.c.question_id == 2)).all() == []


async def test_suspects_come_with_the_most_suspicious_first_until_reviewed(client: Client, engine: Engine) -> None:
    now = utc_now()
    for n, quality in enumerate((0.3, 0.1, 0.2), start=1):
        add_question(engine, f"甲{'子丑寅'[n - 1]}", is_labeled=True, correct_intent=["wealth"], labeled_at=now)
        row = {"question_id": n, "quality": quality, "suggested": ["career"], "labeled_at": now, "training_batch_id": "b"}
        with engine.begin() as connection:
            connection.execute(suspects.insert(), row)
    found, cursor = [], ""
    for _ in range(3):
        told = await call(client, "GET", f"/review?kind=suspect&limit=1{cursor}")
        [item] = told["items"]
        found.append((item["id"], item["suspect_of"], item["current"]))
        cursor = f"&cursor={told['next_cursor']}"
    assert told["next_cursor"] is None
    assert found == [(2, ["career"], ["wealth"]), (3, ["career"], ["wealth"]), (1, ["career"], ["wealth"])]
    await review(client, 2, "accept")
    assert [item["id"] for item in (await call(client, "GET", "/review"))["items"]] == [3, 1]


async def test_what_a_training_used_is_not_sent_back(client: Client, engine: Engine) -> None:
    add_question(engine, "甲", is_labeled=True, correct_intent=["wealth"], training_status="used")
    assert (await review(client, 1, "send_back", status=409))["error"]["code"] == "already_trained"
