"""Views that stay open hear of labels, trainings, activations and replicas, and of nothing twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine

from api.app import make_app
from api.state import Api
from schema.events import Event, LabelApplied, ModelActivated, ReplicaStatus, TrainingFinished, TrainingProgress
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import LABEL_APPLIED, MODEL_ACTIVATED, REPLICA_STATUS, TRAINING_FINISHED, TRAINING_PROGRESS, Topic
from tests.integration.labelling import ROOT, Client
from tests.integration.test_api import add_question
from tests.running import wait_until

NOW = datetime.now(UTC)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    made = Api(settings)
    yield made
    await made.close()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened


def produce(settings: Settings, *said: tuple[Topic, str, Event]) -> None:
    with EventProducer(settings, source="test") as producer:
        for topic, key, event in said:
            producer.send(topic, event, key=key).result(10)


async def next_event(stream: ClientResponse) -> tuple[str, Any]:
    async with asyncio.timeout(15):
        name = ""
        async for line in stream.content:
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            if line.startswith(b"data: "):
                return name, json.loads(line[6:])
    raise AssertionError("the stream ended")


def status(version: str) -> ReplicaStatus:
    said = {"replica_id": "r-1", "state": "loaded", "wanted_generation": 1, "loaded_generation": 1, "version": version}
    return ReplicaStatus.model_validate(said | {"rules_revision": 0, "reported_at": datetime.now(UTC)})


async def test_everything_that_happens_is_told(api: Api, client: Client, engine: Engine, settings: Settings) -> None:
    add_question(engine, "今年财运如何", is_labeled=True, correct_intent=["wealth"])
    applied = LabelApplied(question_id=1, correct_intent=["wealth"], labeler_id="ann", is_relabel=False, applied_at=NOW)
    activated = ModelActivated(
        generation=2,
        version="v1",
        rules_revision=0,
        model_url="file:///v1",
        manifest_sha256="0" * 64,
        activated_by="ops",
        reason="better",
        activated_at=NOW,
    )
    await asyncio.to_thread(produce, settings, (LABEL_APPLIED, "1", applied))
    async with client.get(f"{ROOT}/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert await stream.content.readline() == b": connected\n"
        await asyncio.to_thread(produce, settings, (LABEL_APPLIED, "1", applied))
        label = {"question_id": 1, "correct_intent": ["wealth"], "labeler_id": "ann", "takes_back": None}
        assert await next_event(stream) == ("label", label), "nothing from before it connected"
        name, told = await next_event(stream)
        assert (name, told["ready"], told["missing"]) == ("progress", 1, 99)
        step = TrainingProgress(batch_id="b-1", attempt=1, stage="train", step=3, total_steps=9, loss=0.5)
        await asyncio.to_thread(produce, settings, (TRAINING_PROGRESS, "b-1", step))
        name, told = await next_event(stream)
        assert (name, told["batch_id"], told["state"], told["step"], told["loss"]) == ("batch", "b-1", "training", 3, 0.5)
        assert (await next_event(stream))[0] == "progress"
        finished = TrainingFinished(batch_id="b-1", outcome="completed", version="v1")
        await asyncio.to_thread(produce, settings, (TRAINING_FINISHED, "b-1", finished))
        name, told = await next_event(stream)
        assert (name, told["state"], told["version"]) == ("batch", "completed", "v1")
        assert (await next_event(stream))[0] == "progress"
        await asyncio.to_thread(produce, settings, (MODEL_ACTIVATED, "serving", activated))
        name, told = await next_event(stream)
        assert (name, told["version"], told["traffic"]) == ("model", "v1", 100)
        await asyncio.to_thread(produce, settings, *((REPLICA_STATUS, "r-1", status(v)) for v in ("v0", "v0")))
        assert (await next_event(stream))[1]["version"] == "v0"
        await asyncio.to_thread(produce, settings, *((REPLICA_STATUS, "r-1", status(v)) for v in ("v0", "v1")))
        name, told = await next_event(stream)
        assert (name, told["replica_id"], told["version"]) == ("rollout", "r-1", "v1"), "a report that says the same is not told"
    await asyncio.to_thread(wait_until, lambda: api.live.clients() == 0, "nobody listens")
