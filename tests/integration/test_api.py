"""The ops API on a real Kafka and database: the promised lines as written, and nothing written on errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine, func, select, update

from api.app import make_app
from api.state import Api
from schema.activations import activate
from schema.envelope import decode
from schema.events import QuestionLabeled, ReplicaStatus, TrainingRequested
from schema.ids import uuid7
from schema.producer import EventProducer
from schema.settings import Settings
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_model_activations as activations
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_model_versions as versions
from schema.tables import intent_user_questions as questions
from schema.tables import outbox, utc_now
from schema.text import text_hash
from schema.topics import QUESTION_LABELED, REPLICA_STATUS
from schema.tracing import trace_id
from streams.rollups import refill
from tests.running import read_all

ROOT = "/api/v1/model-tuning"
LABEL = {
    "correct_intent": ["wealth"],
    "correct_time_intent": {"type": "this_year", "target_years": [2025]},
    "labeler_id": "admin",
}
Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    api = Api(settings)
    api.start()
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened
    await api.close()


def add_question(engine: Engine, text: str, **changes: Any) -> int:
    """A stored question that waits for its label; returns its id."""
    now = utc_now()
    row: dict[str, Any] = {
        "event_id": uuid7().bytes,
        "question": text,
        "text_hash": text_hash(text),
        "user_id": "p1_" + "0" * 32,
        "intents": ["wealth"],
        "confidence": Decimal("0.5"),
        "method": "local_model",
        "response_time_ms": 10,
        "model_version": "v0",
        "rules_revision": 0,
        "training_status": "pending",
        "consent_training": True,
        "consent_stated": True,
        "asked_at": now,
        "created_at": now,
        "updated_at": now,
    }
    with engine.begin() as connection:
        number = int(connection.execute(questions.insert(), row | changes).lastrowid)
        refill(connection)  # what no worker stored, no worker counted
        return number


def add_version(engine: Engine, version: str, *, passed: bool = True) -> None:
    row: dict[str, Any] = {
        "version": version,
        "model_name": "intentloop",
        "model_path": f"file:///models/{version}",
        "base_model": "b",
    }
    row |= {"gate_passed": passed, "rules_revision": 0, "manifest_sha256": "0" * 64, "created_at": utc_now()}
    with engine.begin() as connection:
        connection.execute(versions.insert(), row)


def add_batch(engine: Engine, batch_id: str, status: str, **changes: Any) -> None:
    row = {"batch_id": batch_id, "training_status": status, "trigger": "manual", "task": "fine_tune", "created_at": utc_now()}
    with engine.begin() as connection:
        connection.execute(batches.insert(), row | changes)


def number_of(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def queued(engine: Engine) -> list[tuple[str, str]]:
    """Topic and data of what the outbox holds."""
    with engine.connect() as connection:
        return [(topic, event) for topic, event in connection.execute(select(outbox.c.topic, outbox.c.event))]


def labels_sent(settings: Settings) -> list[Any]:
    return read_all(settings.kafka, QUESTION_LABELED.name(settings.topic_prefix), QUESTION_LABELED.partitions)


async def get(client: Client, path: str, status: int = 200) -> Any:
    async with client.get(ROOT + path) as response:
        told = await response.json()
        assert response.status == status, told
        assert told["success"] is (status < 400)
        return told


async def post(client: Client, path: str, status: int, body: Any = None) -> Any:
    async with client.post(ROOT + path, json=body) if body is not None else client.post(ROOT + path) as response:
        told = await response.json()
        assert response.status == status, told
        assert told["success"] is (status < 400)
        return told if status < 400 else (told["error"]["code"], told["error"]["field"])


async def test_the_seven_lines_work_as_written(client: Client, engine: Engine, settings: Settings) -> None:
    """stats, unlabeled, label, batches, run, extract, activate: what a person types on the first day."""
    assert add_question(engine, "今年财运如何") == 1
    add_question(engine, "已经标注", is_labeled=True, correct_intent=["career"])
    add_version(engine, "v1")
    assert (await get(client, "/stats"))["data_quality"]["total"] == 2
    assert [q["id"] for q in (await get(client, "/questions/unlabeled?limit=100"))["questions"]] == [1]
    assert (await post(client, "/questions/1/label", 202, LABEL))["question_id"] == 1
    batch_id = (await post(client, "/batches", 201, {"description": "首次训练"}))["batch_id"]
    assert (await post(client, f"/batches/{batch_id}/run", 202, {"auto_extract_keywords": True}))["batch_id"] == batch_id
    extraction = (await post(client, "/keywords/extract?min_confidence=0.8&limit=1000", 202))["batch_id"]
    response = await client.post(f"{ROOT}/models/v1/activate", skip_auto_headers=["Content-Type"])
    assert (response.status, (await response.json())["version"]) == (200, "v1")

    requested = [TrainingRequested.model_validate_json(e) for topic, e in queued(engine) if topic == "training.requested"]
    assert [(r.batch_id, r.task, r.trigger) for r in requested] == [
        (batch_id, "fine_tune", "manual"),
        (extraction, "extract_keywords", "manual"),
    ]
    made = (await get(client, f"/batches/{batch_id}"))["batch"]
    assert (made["description"], made["training_status"], made["labeled_count"]) == ("首次训练", "pending", 1)
    options = (await get(client, f"/batches/{extraction}"))["batch"]["options"]
    assert options == {"min_confidence": 0.8, "limit": 1000}
    assert [b["batch_id"] for b in (await get(client, "/batches?limit=1"))["batches"]] == [extraction]


async def test_a_label_goes_to_kafka_and_not_to_the_database(client: Client, engine: Engine, settings: Settings) -> None:
    number = add_question(engine, "今年财运如何")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with client.post(f"{ROOT}/questions/{number}/label", json=LABEL, headers={"traceparent": trace}) as response:
        told = await response.json()
    assert response.status == 202
    [message] = await asyncio.to_thread(labels_sent, settings)
    envelope = decode(QuestionLabeled, message.value(), message.headers())
    assert (message.key(), envelope.id) == (str(number).encode(), told["event_id"])
    assert trace_id(envelope.traceparent) == trace_id(trace), "the same trace, a new span"
    assert envelope.traceparent != trace
    assert envelope.data.correct_intent == ["wealth"]
    assert envelope.data.correct_time_intent is not None
    assert envelope.data.correct_time_intent.target_years == [2025]
    question = (await get(client, f"/questions/{number}"))["question"]
    assert (question["is_labeled"], question["correct_intent"], question["labels"]) == (False, None, [])


async def test_a_label_that_is_repeated_with_its_key_is_the_same_event(
    client: Client, engine: Engine, settings: Settings
) -> None:
    number = add_question(engine, "今年财运如何")
    other = LABEL | {"correct_intent": ["career"]}
    ids = []
    for body, key in ((LABEL, "k1"), (LABEL, "k1"), (LABEL, "k2"), (other, "k1"), (LABEL, None), (LABEL, None)):
        headers = {"Idempotency-Key": key} if key else {}
        async with client.post(f"{ROOT}/questions/{number}/label", json=body, headers=headers) as response:
            ids.append((await response.json())["event_id"])
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    sent = await asyncio.to_thread(labels_sent, settings)
    assert [decode(QuestionLabeled, message.value()).id for message in sent] == ids


async def test_a_refused_label_leaves_nothing_on_the_topic(client: Client, engine: Engine, settings: Settings) -> None:
    number = add_question(engine, "今年财运如何")
    silent = add_question(engine, "没有同意", consent_training=False, training_status="skipped")
    gone = add_question(engine, "收回同意", consent_training=False)
    for unknown in ("999", "0", "-1", "abc", "9" * 5000, "99999999999999999999", quote("一")):
        assert await post(client, f"/questions/{unknown}/label", 404, LABEL) == ("unknown_question", "id")
    for refused in (silent, gone):
        assert await post(client, f"/questions/{refused}/label", 409, LABEL) == ("no_consent", "id")
    wrong = LABEL | {"correct_intent": ["luck"]}
    assert await post(client, f"/questions/{number}/label", 422, wrong) == ("invalid", "correct_intent")
    assert await post(client, f"/questions/{number}/label", 422, LABEL | {"sure": True}) == ("unknown_field", "sure")
    assert await asyncio.to_thread(labels_sent, settings) == []


async def test_the_queue_holds_what_may_be_labelled_in_the_wished_order(client: Client, engine: Engine) -> None:
    day = timedelta(days=1)
    now = utc_now()
    sure = add_question(engine, "一", confidence=Decimal("0.9"), asked_at=now - 3 * day)
    unsure = add_question(engine, "二", confidence=Decimal("0.2"), asked_at=now - 1 * day)
    never = add_question(engine, "三", confidence=None, intents=None, asked_at=now - 2 * day)
    add_question(engine, "四", is_labeled=True, correct_intent=["wealth"])
    add_question(engine, "五", consent_training=False, training_status="skipped")
    add_question(engine, "六", training_status="used")

    async def order(query: str) -> list[int]:
        return [q["id"] for q in (await get(client, f"/questions/unlabeled{query}"))["questions"]]

    assert await order("") == await order("?strategy=uncertain") == [never, unsure, sure]
    assert await order("?strategy=newest") == [unsure, never, sure]
    assert await order("?strategy=oldest") == [sure, never, unsure]
    assert sorted(await order("?strategy=random")) == sorted([sure, unsure, never])
    assert await order("?limit=1") == [never]
    told = await get(client, "/questions/unlabeled?limit=2")
    assert (told["count"], told["total"], "user_id" in told["questions"][0]) == (2, 3, False)


async def test_a_batch_is_made_once_and_run_once(client: Client, engine: Engine) -> None:
    assert await post(client, "/batches", 409, {}) == ("nothing_labeled", None)
    assert await post(client, "/keywords/extract", 409) == ("nothing_labeled", None)
    assert await post(client, "/batches", 422, {"name": "x"}) == ("unknown_field", "name")
    assert await post(client, "/batches/b-none/run", 404) == ("unknown_batch", "batch_id")
    assert (await get(client, "/batches/b-none", 404))["error"]["code"] == "unknown_batch"
    assert (number_of(engine, batches), queued(engine)) == (0, [])

    add_question(engine, "已经标注", is_labeled=True, correct_intent=["career"])
    made = await post(client, "/batches", 201, {"description": "电话13800138000"})
    assert (await get(client, f"/batches/{made['batch_id']}"))["batch"]["description"] == "电话<PHONE>"
    assert await post(client, "/batches", 409, {}) == ("nothing_labeled", None), "another batch holds the question"
    for _ in range(2):
        await post(client, f"/batches/{made['batch_id']}/run", 202, {"auto_extract_keywords": False})
    assert len(queued(engine)) == 1
    for status, code in (("training", "batch_running"), ("completed", "batch_ended")):
        with engine.begin() as connection:
            connection.execute(update(batches).values(training_status=status))
        assert await post(client, f"/batches/{made['batch_id']}/run", 409) == (code, "batch_id")
    assert len(queued(engine)) == 1


async def test_of_two_batches_at_once_one_is_made(client: Client, engine: Engine) -> None:
    for n in range(20):
        add_question(engine, f"已经标注{chr(0x4E00 + n)}", is_labeled=True, correct_intent=["career"])

    async def make() -> int:
        async with client.post(f"{ROOT}/batches", json={}) as response:
            return response.status

    assert sorted(await asyncio.gather(*(make() for _ in range(8)))) == [201] + [409] * 7
    with engine.connect() as connection:
        assert connection.execute(select(batches.c.question_count)).scalars().all() == [20]


async def test_versions_are_activated_and_rolled_back_with_their_event(client: Client, engine: Engine) -> None:
    for version, passed in (("v0", True), ("v1", True), ("v2", False)):
        add_version(engine, version, passed=passed)
    assert await post(client, "/models/rollback", 409) == ("nothing_before", None)
    for unknown in ("v9", "v1%20", "V1", quote("版本"), "%FF", "v1%00"):
        assert await post(client, f"/models/{unknown}/activate", 404) == ("unknown_version", "version")
    assert await post(client, "/models/v1/activate", 422, {"why": "x"}) == ("unknown_field", "why")
    assert (number_of(engine, activations), queued(engine)) == (0, [])

    await post(client, "/models/v0/activate", 200)
    assert (await post(client, "/models/v1/activate", 200, {"reason": "看起来更好"}))["changed"] is True
    assert (await post(client, "/models/v1/activate", 200))["changed"] is False
    assert await post(client, "/models/v2/activate", 409) == ("gate_not_passed", "reason")
    assert (await get(client, "/models"))["serving"] == "v1"
    assert (await post(client, "/models/rollback", 200))["version"] == "v0"
    assert (await post(client, "/models/v2/activate", 200, {"reason": "I know why"}))["version"] == "v2"
    told = await get(client, "/models")
    assert [(m["version"], m["is_active"]) for m in told["models"]] == [("v2", True), ("v1", False), ("v0", False)]
    with engine.connect() as connection:
        rows = connection.execute(select(activations).order_by(activations.c.id)).all()
    assert [row.version for row in rows] == ["v0", "v1", "v0", "v2"]
    assert (rows[1].reason, rows[1].activated_by) == ("看起来更好", "api")
    assert [topic for topic, _ in queued(engine)] == ["model.activated"] * 4


async def test_what_served_at_a_moment_is_known(client: Client, engine: Engine) -> None:
    for version, hour in (("v0", 8), ("v1", 12)):
        add_version(engine, version)
        with engine.begin() as connection:
            generation = activate(connection, version, by="test", reason="test").generation
            moment = update(activations).where(activations.c.id == generation)
            connection.execute(moment.values(activated_at=datetime(2026, 1, 1, hour)))
    assert (await get(client, "/models/at?time=2026-01-01T07:59:59Z", 404))["error"]["code"] == "nothing_served"
    assert (await get(client, "/models/at?time=2026-01-01T08:00:00Z"))["version"] == "v0"
    assert (await get(client, "/models/at?time=2026-01-01T19:59:59%2B08:00"))["version"] == "v0"
    told = await get(client, "/models/at?time=2026-01-01T20:00:00%2B08:00")
    assert (told["version"], told["activated_at"], told["model"]["version"]) == ("v1", "2026-01-01T12:00:00Z", "v1")


async def test_a_rollout_is_done_when_every_live_replica_serves_the_version(
    client: Client, engine: Engine, settings: Settings
) -> None:
    add_version(engine, "v1")
    await post(client, "/models/v1/activate", 200)

    def say(name: str, version: str, state: str = "loaded") -> ReplicaStatus:
        said = {"replica_id": name, "state": state, "wanted_generation": 1, "loaded_generation": 1, "version": version}
        return ReplicaStatus.model_validate(said | {"rules_revision": 0, "reported_at": datetime.now(UTC)})

    async def until(done: bool, loaded: dict[str, str]) -> None:
        async with asyncio.timeout(20):
            while True:
                async with client.get(f"{ROOT}/rollout") as response:
                    told = await response.json()
                if told["success"] and {r["replica_id"]: r["loaded_version"] for r in told["replicas"]} == loaded:
                    assert (told["done"], told["wanted_version"]) == (done, "v1")
                    return
                await asyncio.sleep(0.05)  # another thread reads the topic: nothing to await

    await until(False, {})
    with EventProducer(settings, source="test") as producer:
        for status in (say("a", "v1"), say("b", "v0")):
            producer.send(REPLICA_STATUS, status, key=status.replica_id)
        await until(False, {"a": "v1", "b": "v0"})
        producer.send(REPLICA_STATUS, say("b", "v1"), key="b")
        await until(True, {"a": "v1", "b": "v1"})


async def test_stats_equal_a_count_by_hand(client: Client, engine: Engine) -> None:
    empty = await get(client, "/stats")
    assert (empty["data_quality"]["total"], empty["data_quality"]["label_rate"]) == (0, None)
    labeled = {"is_labeled": True, "consent_stated": True}
    add_question(engine, "1", **labeled, intents=["wealth", "career"], correct_intent=["career", "wealth"])
    add_question(engine, "2", **labeled, correct_intent=["wealth"], response_time_ms=20)
    add_question(engine, "3", **labeled, correct_intent=["health"], method="llm_fallback", response_time_ms=300)
    add_question(engine, "4", **labeled, correct_intent=["health"], intents=["health"], model_version="v1", response_time_ms=4)
    add_question(engine, "5", consent_stated=False, consent_training=False, training_status="skipped", model_version="v1")
    add_question(engine, "6", intents=None, model_version=None, method=None, response_time_ms=None, consent_stated=False)
    end = utc_now()
    done = {"training_duration_sec": 10, "model_accuracy": Decimal("0.7"), "training_end_time": end - timedelta(hours=1)}
    add_batch(engine, "b-1", "completed", **done)
    done = {"training_duration_sec": 20, "model_accuracy": Decimal("0.8"), "training_end_time": end, "model_version": "v1"}
    add_batch(engine, "b-2", "completed", **done)
    add_batch(engine, "b-3", "rejected", training_duration_sec=60, model_accuracy=Decimal("0.1"), training_end_time=end)
    add_batch(engine, "b-4", "failed")
    add_batch(engine, "b-5", "pending")
    rule = {"confidence_boost": Decimal("0.2"), "source": "auto", "created_at": end, "updated_at": end}
    with engine.begin() as connection:
        for intent, usage, success, failure, enabled in (("wealth", 9, 3, 1, True), ("career", 2, 0, 0, False)):
            said = {"keyword": "钱", "intent": intent, "usage_count": usage, "success_count": success, "failure_count": failure}
            connection.execute(rules.insert(), rule | said | {"enabled": enabled})
        for intent, total in (("wealth", 5), ("career", 7)):
            connection.execute(counts.insert(), {"keyword": "钱", "intent": intent, "total": total, "updated_at": end})

    told = await get(client, "/stats")
    data = told["data_quality"]
    assert {intent: n for intent, n in data.pop("per_intent").items() if n} == {"career": 1, "wealth": 2, "health": 2}
    amounts = {"total": 6, "labeled": 4, "unlabeled": 2, "skipped": 1}
    assert data == amounts | {"label_rate": 0.6667, "without_stated_consent": 2}
    assert told["training"] == {
        "batches": {"pending": 1, "training": 0, "completed": 2, "rejected": 1, "failed": 1, "cancelled": 0},
        "total": 5,
        "success_rate": 0.5,
        "latest_version": "v1",
        "latest_accuracy": 0.8,
        "mean_duration_sec": 30.0,
    }
    assert told["rules"] == {"total": 2, "enabled": 1, "usage": 11, "success": 3, "failure": 1, "success_rate": 0.75}
    effect = told["model_effect"]
    assert effect["versions"]["v0"] == {
        "answered": 3,
        "labeled": 3,
        "correct": 2,
        "accuracy": 0.6667,
        "llm_call_rate": 0.3333,
        "mean_response_time_ms": 110.0,
    }
    assert effect["versions"]["v1"] | {"mean_response_time_ms": 7.0, "accuracy": 1.0} == effect["versions"]["v1"]
    judged = {method: (one["labeled"], one["accuracy"]) for method, one in effect["methods"].items()}
    assert judged == {"llm_fallback": (1, 0.0), "local_model": (3, 1.0), "keyword_fallback": (0, None)}
    assert (effect["overall"]["answered"], effect["overall"]["labeled"], effect["overall"]["accuracy"]) == (5, 4, 0.75)

    for query, found in (("", ["wealth", "career"]), ("?intent=career", ["career"])):
        assert [k["intent"] for k in (await get(client, f"/keywords{query}"))["keywords"]] == found
    for query, totals in (("", [7, 5]), ("?intent=wealth&limit=1", [5])):
        assert [c["total"] for c in (await get(client, f"/keywords/counts{query}"))["counts"]] == totals


async def test_the_contracts_are_served(client: Client) -> None:
    events = await client.get("/asyncapi.yaml")
    assert (events.status, (await events.text())[:9]) == (200, "asyncapi:")
    document = await (await client.get("/openapi.json")).json()
    assert f"{ROOT}/questions/{{id}}/label" in document["paths"]
