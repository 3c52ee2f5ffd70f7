"""Requests are read strictly, and every fault is told in one shape that names the field."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY

from api.inputs import Extraction, KeywordListing, Moment, RunBatch, Waiting
from api.middleware import measured, same_site, shaped
from api.tasks import Label
from api.wire import MAX_BODY_BYTES, Input, Nothing, Unavailable, answer, dumps, read_call
from schema.errors import Conflict, EventError, NotFound

BODIES: dict[str, type[Input]] = {"label": Label, "run": RunBatch, "none": Nothing}
QUERIES: dict[str, type[Input]] = {"waiting": Waiting, "at": Moment, "extract": Extraction, "keywords": KeywordListing}
FAULTS: dict[str, Exception] = {
    "missing": NotFound("unknown_batch", "there is no batch b", "batch_id"),
    "conflict": Conflict("batch_running", "it runs"),
    "away": Unavailable("database_unavailable", "away"),
    "refused": EventError("refused_by_database", "too long"),
    "bug": KeyError("a mistake of ours"),
}

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async def body(request: web.Request) -> web.Response:
        call = await read_call(request, BODIES[request.match_info["name"]], Nothing)
        return answer({"body": call.body.model_dump(mode="json")})

    async def query(request: web.Request) -> web.Response:
        call = await read_call(request, Nothing, QUERIES[request.match_info["name"]])
        return answer({"query": call.query.model_dump()})

    async def fail(request: web.Request) -> web.Response:
        raise FAULTS[request.match_info["name"]]

    app = web.Application(middlewares=[measured, shaped, same_site], client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/body/{name}", body)
    app.router.add_get("/query/{name}", query)
    app.router.add_get("/fail/{name}", fail)
    async with TestClient(TestServer(app)) as opened:
        yield opened


def fault(status: int, told: Any) -> tuple[int, str, str | None]:
    assert set(told) == {"success", "error"}
    assert told["success"] is False
    assert set(told["error"]) == {"code", "message", "field"}
    assert told["error"]["message"]
    return status, told["error"]["code"], told["error"]["field"]


GOOD = {"correct_intent": ["wealth"], "labeler_id": "admin"}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"correct_intent": ["luck"]}, "invalid", "correct_intent"),
        ({"correct_intent": []}, "invalid", "correct_intent"),
        ({"correct_intent": ["wealth", "career", "health", "general"]}, "invalid", "correct_intent"),
        ({"correct_intent": ["wealth", "non_fortune"]}, "invalid", "correct_intent"),
        ({"correct_intent": "wealth"}, "invalid", "correct_intent"),
        ({"correct_time_intent": {"type": "someday", "target_years": [2025]}}, "invalid", "correct_time_intent.type"),
        ({"correct_time_intent": {"type": "this_year", "target_years": ["2025"]}}, "invalid", "correct_time_intent.target_years"),
        ({"labeler_id": 7}, "invalid", "labeler_id"),
        ({"labeler_id": "  "}, "invalid", "labeler_id"),
        ({"labeler_id": None}, "invalid", "labeler_id"),
        ({"intent": "wealth"}, "unknown_field", "intent"),
    ],
)
async def test_a_wrong_field_is_named(client: Client, changes: dict[str, Any], code: str, field: str) -> None:
    response = await client.post("/body/label", json=GOOD | changes)
    assert fault(response.status, await response.json()) == (422, code, field)


async def test_a_missing_field_is_named_even_without_a_body(client: Client) -> None:
    response = await client.post("/body/label")
    assert fault(response.status, await response.json()) == (422, "missing_field", "correct_intent")


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b'{"a": 1} x', b"not json", b'{"labeler_id": "\\ud800"}'])
async def test_what_is_no_json_is_a_400(client: Client, raw: bytes) -> None:
    response = await client.post("/body/label", data=raw, headers={"Content-Type": "application/json"})
    assert fault(response.status, await response.json()) == (400, "invalid_json", None)


async def test_another_content_type_is_a_400(client: Client) -> None:
    response = await client.post("/body/label", data=json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    assert fault(response.status, await response.json()) == (400, "wrong_content", None)


@pytest.mark.parametrize("raw", [b"[]", b"7", b'"text"', b"null"])
async def test_json_that_is_no_object_is_a_422(client: Client, raw: bytes) -> None:
    response = await client.post("/body/none", data=raw, headers={"Content-Type": "application/json"})
    assert fault(response.status, await response.json()) == (422, "invalid", None)


@pytest.mark.parametrize(("sent", "read"), [(None, True), ({}, True), ({"auto_extract_keywords": False}, False)])
async def test_a_body_whose_fields_all_have_defaults_may_be_left_out(client: Client, sent: Any, read: bool) -> None:
    response = await client.post("/body/run", json=sent) if sent is not None else await client.post("/body/run")
    assert (response.status, (await response.json())["body"]) == (200, {"auto_extract_keywords": read})


async def test_truth_is_not_guessed_from_text(client: Client) -> None:
    response = await client.post("/body/run", json={"auto_extract_keywords": "yes"})
    assert fault(response.status, await response.json()) == (422, "invalid", "auto_extract_keywords")


async def test_a_body_that_is_too_large_is_a_413(client: Client) -> None:
    response = await client.post("/body/label", json=GOOD | {"labeler_id": "x" * MAX_BODY_BYTES})
    assert fault(response.status, await response.json()) == (413, "body_too_large", None)


@pytest.mark.parametrize(
    ("path", "code", "field"),
    [
        ("waiting?limit=0", "invalid", "limit"),
        ("waiting?limit=1001", "invalid", "limit"),
        ("waiting?limit=ten", "invalid", "limit"),
        ("waiting?limit=1&limit=2", "invalid", "limit"),
        ("waiting?strategy=best", "invalid", "strategy"),
        ("waiting?offset=3", "unknown_field", "offset"),
        ("extract?min_confidence=nan", "invalid", "min_confidence"),
        ("extract?min_confidence=1.1", "invalid", "min_confidence"),
        ("keywords?intent=luck", "invalid", "intent"),
        ("at", "missing_field", "time"),
        ("at?time=yesterday", "invalid", "time"),
        ("at?time=1700000000", "invalid", "time"),
        ("at?time=2026-13-01T00:00:00Z", "invalid", "time"),
        ("at?time=0001-01-01T00:00:00%2B14:00", "invalid", "time"),
    ],
)
async def test_a_wrong_query_value_is_named(client: Client, path: str, code: str, field: str) -> None:
    response = await client.get(f"/query/{path}")
    assert fault(response.status, await response.json()) == (422, code, field)


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T00:00:00Z", "2026-01-31", "2026-01-31T00:00:00", "2026-01-31T08:00:00%2B08:00", "2026-01-31T08:00:00+08:00"],
)
async def test_a_moment_is_read_in_utc_also_where_its_plus_was_not_quoted(client: Client, text: str) -> None:
    response = await client.get(f"/query/at?time={text}")
    assert (await response.json())["query"] == {"time": "2026-01-31T00:00:00Z"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", (404, "unknown_batch", "batch_id")),
        ("conflict", (409, "batch_running", None)),
        ("away", (503, "database_unavailable", None)),
        ("refused", (422, "refused_by_database", None)),
        ("bug", (500, "internal", None)),
    ],
)
async def test_every_error_has_its_status_and_the_one_shape(
    client: Client, caplog: pytest.LogCaptureFixture, name: str, expected: tuple[int, str, str | None]
) -> None:
    response = await client.get(f"/fail/{name}")
    assert fault(response.status, await response.json()) == expected
    assert ("Retry-After" in response.headers) == (response.status == 503)
    assert len([r for r in caplog.records if r.name == "api.middleware"]) == (1 if response.status >= 500 else 0)
    assert "a mistake of ours" not in await response.text()


async def test_unknown_routes_and_methods_have_the_shape_too(client: Client) -> None:
    response = await client.get("/nowhere")
    assert fault(response.status, await response.json()) == (404, "unknown_route", None)
    response = await client.delete("/body/run")
    assert fault(response.status, await response.json()) == (405, "wrong_method", None)
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("site", "status"), [(None, 200), ("none", 200), ("same-origin", 200), ("cross-site", 403), ("same-site", 403)]
)
async def test_a_page_of_another_site_cannot_change_anything(client: Client, site: str | None, status: int) -> None:
    headers = {"Sec-Fetch-Site": site} if site else {}
    assert (await client.post("/body/run", headers=headers)).status == status
    assert (await client.get("/query/waiting", headers=headers)).status == 200


@pytest.mark.parametrize("key", ["", "k" * 129])
async def test_an_idempotency_key_has_a_length(client: Client, key: str) -> None:
    response = await client.post("/body/run", headers={"Idempotency-Key": key})
    assert fault(response.status, await response.json()) == (422, "invalid", "Idempotency-Key")


async def test_requests_are_measured_by_pattern_and_never_by_path(client: Client) -> None:
    def measured_as(route: str, status: str) -> float:
        labels = {"method": "GET", "route": route, "status": status}
        return REGISTRY.get_sample_value("intentloop_http_request_duration_seconds_count", labels) or 0.0

    before = measured_as("/fail/{name}", "404"), measured_as("unknown", "404")
    for path in ("/fail/missing", "/nowhere/1", "/nowhere/2"):
        await client.get(path)
    assert (measured_as("/fail/{name}", "404"), measured_as("unknown", "404")) == (before[0] + 1, before[1] + 2)


def test_what_the_database_gives_is_written_as_json() -> None:
    row = {"accuracy": Decimal("0.9000"), "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None), "名": "财"}
    assert dumps(row) == '{"accuracy": 0.9, "at": "2026-01-02T03:04:05Z", "名": "财"}'
