"""What the tests of labelling share: calls with a name, and labels applied as the streams worker does."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient
from sqlalchemy import Engine

from schema.database import in_transaction
from schema.dead_letters import Origin
from schema.envelope import decode
from schema.events import QuestionLabeled
from schema.settings import Settings
from schema.topics import QUESTION_LABELED
from streams.labels import apply_labels
from streams.records import Record
from tests.running import read_all

ROOT = "/api/v1/model-tuning"
Client = TestClient[web.Request, web.Application]


async def call(
    client: Client, method: str, path: str, body: Any = None, *, status: int = 200, by: str | None = None
) -> dict[str, Any]:
    """One request; returns the answer, whose status and success are as expected."""
    headers = {"X-Labeler": by} if by else {}
    async with client.request(method, ROOT + path, json=body, headers=headers) as response:
        told: dict[str, Any] = await response.json()
        assert response.status == status, told
        assert told["success"] is (status < 400)
        return told


async def next_work(client: Client, by: str, limit: int = 10, **more: Any) -> list[dict[str, Any]]:
    told = await call(client, "POST", "/work/next", {"limit": limit, "strategy": "uncertain"} | more, by=by)
    assert told["count"] == len(told["questions"])
    items: list[dict[str, Any]] = told["questions"]
    return items


async def apply_sent(engine: Engine, settings: Settings) -> list[QuestionLabeled]:
    """Apply all labels on the topic, in their order per question; what was applied before is not applied again."""
    sent = await asyncio.to_thread(read_all, settings.kafka, QUESTION_LABELED.name(settings.topic_prefix), 3)
    envelopes = [decode(QuestionLabeled, message.value(), message.headers()) for message in sent]
    record = Record(Origin("question.labeled", 0, 0, "test", 0), None, None, [])

    def work(connection: Any) -> None:
        _, refused = apply_labels(connection, [(record, envelope) for envelope in envelopes])
        assert refused == []

    in_transaction(engine, work)
    return [envelope.data for envelope in envelopes]
