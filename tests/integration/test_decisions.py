"""Labels of groups and in bulk, skip, postpone, flag and undo: each question goes where the labeler said, and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine, select, update

from api.app import make_app
from api.state import Api
from schema.batches import count_open
from schema.settings import Settings
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_question_marks as marks
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from tests.integration.labelling import ROOT, Client, apply_sent, call, next_work
from tests.integration.test_api import add_batch, add_question

ANN = {"labeler_id": "ann"}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    api = Api(settings.model_copy(update={"blind_share": 0.0, "review_share": 0.0}))
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened
    await api.close()


def label_of(*intents: str, by: str = "ann", **more: Any) -> dict[str, Any]:
    return {"correct_intent": list(intents), "labeler_id": by, **more}


async def queue_of(client: Client, by: str) -> list[int]:
    items = await next_work(client, by)
    ids = [item["id"] for item in items]
    if ids:
        await call(client, "POST", "/work/release", {"question_ids": ids}, by=by)
    return ids


def labels_in(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(questions.c.correct_intent).order_by(questions.c.id)).scalars())


async def test_one_label_is_given_to_all_copies_and_counts_once(client: Client, engine: Engine, settings: Settings) -> None:
    for text in ("今年财运如何", "今年财运如何？", "今年財運如何", "明年财运如何"):
        add_question(engine, text)
    [item] = await next_work(client, "ann", 1)
    told = await call(client, "POST", "/questions/1/label", label_of("career", apply_to_group=True), status=202)
    assert told["question_ids"] == item["group_ids"] == [1, 2, 3]
    assert await queue_of(client, "ann") == await queue_of(client, "bob") == [4], "before the labels are applied, too"
    assert {(one.question_id, *one.correct_intent) for one in await apply_sent(engine, settings)} == {
        (number, "career") for number in (1, 2, 3)
    }
    with engine.connect() as connection:
        assert count_open(connection) == 1
    told = await call(client, "GET", "/progress?labeler=ann")
    assert (told["threshold"], told["ready"], told["missing"], told["team_today"]) == (100, 1, 99, 1)
    assert told["mine"] == {"today": 1, "total": 1, "per_hour": 1}
    assert told["per_intent"]["career"] == {"have": 3, "need": 5}
    told = await call(client, "POST", "/questions/1/label", label_of("wealth", apply_to_group=True), status=202)
    assert told["question_ids"] == [1, 2, 3], "what was labelled together is labelled anew together"
    await apply_sent(engine, settings)
    assert labels_in(engine) == [["wealth"]] * 3 + [None]
    told = await call(client, "POST", "/questions/2/undo", ANN, status=202)
    assert (told["undone"], sorted(told["question_ids"])) == ("label", [1, 2, 3])
    await apply_sent(engine, settings)
    assert labels_in(engine) == [["career"]] * 3 + [None]
    await call(client, "POST", "/questions/1/undo", ANN, status=202)
    await apply_sent(engine, settings)
    assert labels_in(engine) == [None] * 4
    assert await queue_of(client, "bob") == [1, 4]
    told = await call(client, "POST", "/questions/1/undo", ANN, status=409)
    assert told["error"]["code"] == "nothing_to_undo"


async def test_a_label_without_its_copies_leaves_them_in_the_queue(client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何")
    add_question(engine, "今年财运如何？")
    assert len(await next_work(client, "ann")) == 1
    told = await call(client, "POST", "/questions/1/label", label_of("wealth"), status=202)
    assert told["question_ids"] == [1]
    assert await queue_of(client, "bob") == [2]


async def test_many_labels_at_once_have_each_their_result(client: Client, engine: Engine, settings: Settings) -> None:
    for n in range(3):
        add_question(engine, f"财运{chr(0x4E00 + n)}")
    add_question(engine, "没有同意", consent_training=False, training_status="skipped")
    body = [
        {"question_id": 1, **label_of("wealth")},
        {"question_id": 99, **label_of("wealth")},
        {"question_id": 4, **label_of("wealth")},
        {"question_id": 2, **label_of("luck")},
        {"question_id": 2, **label_of("career", "health", by="bob")},
        {"question_id": 3, "labeler_id": "ann"},
        "no label",
    ]
    told = await call(client, "POST", "/questions/labels", {"labels": body})
    assert [(one["question_id"], one["status"]) for one in told["results"]] == [
        (1, 202),
        (99, 404),
        (4, 409),
        (2, 422),
        (2, 202),
        (3, 422),
        (None, 422),
    ]
    assert [one.get("error", {}).get("field") for one in told["results"]][3:6:2] == ["correct_intent", "correct_intent"]
    assert told["accepted"] == 2
    await apply_sent(engine, settings)
    assert labels_in(engine) == [["wealth"], ["career", "health"], None, None]
    for wrong in ({"labels": []}, {"labels": [body[0]] * 1001}):
        assert (await call(client, "POST", "/questions/labels", wrong, status=422))["error"]["field"] == "labels"


async def test_a_thousand_labels_are_one_request(client: Client, engine: Engine, settings: Settings) -> None:
    now = utc_now()
    row = {"question": "财运", "consent_training": True, "consent_stated": True}
    row |= {"asked_at": now, "created_at": now, "updated_at": now}
    rows = [row | {"event_id": n.to_bytes(16, "big"), "text_hash": n.to_bytes(16, "big")} for n in range(1000)]
    with engine.begin() as connection:
        connection.execute(questions.insert(), rows)
    body = {"labels": [{"question_id": n + 1, **label_of("wealth")} for n in range(1000)]}
    assert (await call(client, "POST", "/questions/labels", body))["accepted"] == 1000
    assert len(await apply_sent(engine, settings)) == 1000
    assert labels_in(engine) == [["wealth"]] * 1000


async def test_skipped_postponed_and_flagged_questions_leave_the_queue_each_in_its_way(client: Client, engine: Engine) -> None:
    for n in range(4):
        add_question(engine, f"财运{chr(0x4E00 + n)}", confidence=Decimal("0.1") * (n + 1))
    add_question(engine, "财运一？")  # a copy of the first
    assert await queue_of(client, "ann") == [1, 2, 3, 4]
    await call(client, "POST", "/questions/1/skip", ANN)
    await call(client, "POST", "/questions/2/postpone", ANN)
    await call(client, "POST", "/questions/3/flag", ANN | {"comment": "打13800138000问问"})
    assert await queue_of(client, "ann") == [4]
    assert await queue_of(client, "bob") == [1, 2, 4]
    with engine.begin() as connection:
        assert connection.execute(select(marks.c.comment).where(marks.c.kind == "flag")).scalars().all() == ["打<PHONE>问问"]
        connection.execute(update(marks).where(marks.c.kind == "postpone").values(until=utc_now() - timedelta(seconds=1)))
    assert await queue_of(client, "ann") == [2, 4]
    for number, kind in ((3, "flag"), (1, "skip"), (2, "postpone")):
        told = await call(client, "POST", f"/questions/{number}/undo", ANN, status=202)
        assert told["undone"] == kind
    assert await queue_of(client, "ann") == [1, 2, 3, 4]


async def test_to_skip_gives_the_lease_back_and_a_repeat_is_one_decision(client: Client, engine: Engine) -> None:
    add_question(engine, "今年财运如何")
    await next_work(client, "ann")
    for _ in range(2):
        await call(client, "POST", "/questions/1/skip", ANN)
    assert await queue_of(client, "bob") == [1]
    await call(client, "POST", "/questions/1/undo", ANN, status=202)
    assert await queue_of(client, "ann") == [1]


async def test_undo_takes_the_last_decision_even_before_it_is_applied(client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何")
    await call(client, "POST", "/questions/1/postpone", ANN)
    await call(client, "POST", "/questions/1/label", label_of("wealth"), status=202)
    assert (await call(client, "POST", "/questions/1/undo", ANN, status=202))["undone"] == "label"
    assert [one.takes_back for one in await apply_sent(engine, settings)] == [None, "last"]
    assert labels_in(engine) == [None]
    assert (await call(client, "POST", "/questions/1/undo", ANN, status=202))["undone"] == "postpone"
    told = (await call(client, "GET", "/progress?labeler=ann"))["mine"]
    assert told == {"today": 0, "total": 0, "per_hour": 0}


async def test_an_undo_that_is_repeated_with_its_key_goes_one_step(client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何")
    for intent in ("wealth", "career"):
        await call(client, "POST", "/questions/1/label", label_of(intent), status=202)
    await call(client, "POST", "/questions/1/skip", ANN)
    for key, left in (("k1", ["career"]), ("k2", ["wealth"])):
        for _ in range(2):
            async with client.post(f"{ROOT}/questions/1/undo", json=ANN, headers={"Idempotency-Key": key}) as response:
                assert response.status == 202
        await apply_sent(engine, settings)
        assert labels_in(engine) == [left]


async def test_a_label_that_a_training_used_is_not_taken_back(client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何")
    await call(client, "POST", "/questions/1/label", label_of("wealth"), status=202)
    await apply_sent(engine, settings)
    add_batch(engine, "b-1", "training")
    for values in ({"training_batch_id": "b-1"}, {"training_status": "used"}):
        with engine.begin() as connection:
            connection.execute(update(questions).values(values))
        assert (await call(client, "POST", "/questions/1/undo", ANN, status=409))["error"]["code"] == "already_trained"
        with engine.begin() as connection:
            connection.execute(update(batches).values(training_status="completed"))
    assert len(await apply_sent(engine, settings)) == 1


async def test_decisions_are_refused_where_nobody_agreed_or_nothing_is(client: Client, engine: Engine) -> None:
    add_question(engine, "没有同意", consent_training=False, training_status="skipped")
    for what in ("skip", "postpone", "flag"):
        body = ANN | ({"comment": "x"} if what == "flag" else {})
        assert (await call(client, "POST", f"/questions/1/{what}", body, status=409))["error"]["code"] == "no_consent"
        assert (await call(client, "POST", f"/questions/9/{what}", body, status=404))["error"]["code"] == "unknown_question"
    assert (await call(client, "POST", "/questions/1/flag", ANN, status=422))["error"]["field"] == "comment"
    assert (await call(client, "POST", "/questions/9/undo", ANN, status=404))["error"]["code"] == "unknown_question"
