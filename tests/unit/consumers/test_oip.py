"""Clients of the Open Inference Protocol get from a replica what they expect of any server: Triton's own, and plain JSON.

The server is a real one on loopback, in a thread of its own; what answers is the built-in model.
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from aiohttp import web
from tritonclient.utils import InferenceServerException

from consumers.oip import MAX_BODY_BYTES, Answer, add_oip_routes
from inference.pipeline import Pipeline
from intentloop import BUILTIN
from local.ports import free_port
from schema.errors import TransientError
from schema.events import Classification
from schema.health import serve

QUESTIONS = ["明年财运怎么样", "我和他合适吗？能结婚吗", "今天天气怎么样"]
NEW_YEAR = "2026-12-31T16:30:00Z"
"""In Shanghai it is 2027 by then."""
T = TypeVar("T")


@contextmanager
def serving(answer: Answer, versions: Sequence[str]) -> Iterator[str]:
    """A server with the protocol's paths; host and port."""
    routes = web.Application(client_max_size=2**20)
    add_oip_routes(routes, answer=answer, versions=lambda: versions)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    port = free_port()
    runner = there(serve(routes, "127.0.0.1", port))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        there(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def unit() -> Pipeline:
    return Pipeline.load(BUILTIN, threads=1, confidence=0.6)


@pytest.fixture(scope="module")
def server(unit: Pipeline) -> Iterator[str]:
    """It serves v0, and a candidate "v1" to the user "guinea"."""
    candidate = replace(unit, version="v1")

    async def answer(question: str, user_id: str | None, asked_at: datetime | None) -> Classification:
        return await (candidate if user_id == "guinea" else unit).answer(question, asked_at)

    with serving(answer, ["v0", "v1"]) as address:
        yield address


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """It has loaded nothing yet."""

    async def answer(question: str, user_id: str | None, asked_at: datetime | None) -> Classification:
        raise TransientError("no model is loaded yet")

    with serving(answer, []) as address:
        yield address


@contextmanager
def connected(address: str) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(address)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(server: str) -> Iterator[triton.InferenceServerClient]:
    with connected(server) as opened:
        yield opened


@pytest.fixture
async def aio(server: str) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with triton_aio.InferenceServerClient(server) as opened:
        yield opened


def tensor(name: str, texts: list[str], *, binary: bool = True, column: bool = False) -> triton.InferInput:
    array = np.array([text.encode() for text in texts], dtype=np.object_)
    if column:
        array = array.reshape(-1, 1)
    made = triton.InferInput(name, list(array.shape), "BYTES")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def call(address: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """Status, headers and JSON of a plain request: POST where there is a body."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def question(*texts: Any, **other: Any) -> dict[str, Any]:
    return {"name": "question", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)} | other


def untimed(answer: Classification | bytes | str) -> Classification:
    read = answer if isinstance(answer, Classification) else Classification.model_validate_json(answer)
    return read.model_copy(update={"response_time_ms": 0.0})


def test_a_client_sees_a_live_and_ready_server_with_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("intent")
    assert client.is_model_ready("intent", "v0")
    assert client.is_model_ready("intent", "v1"), "a candidate is loaded too"
    assert not client.is_model_ready("intent", "v9")
    assert not client.is_model_ready("other")
    about = client.get_server_metadata()
    assert about["name"] == "intentloop"
    assert about["version"]
    assert about["extensions"] == ["binary_tensor_data"]


def test_metadata_names_the_required_input_the_outputs_and_what_is_loaded(client: triton.InferenceServerClient) -> None:
    about = client.get_model_metadata("intent")
    assert about == {
        "name": "intent",
        "versions": ["v0", "v1"],
        "platform": "intentloop_onnx",
        "inputs": [{"name": "question", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "answer", "datatype": "BYTES", "shape": [-1]},
            {"name": "intent", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP64", "shape": [-1]},
        ],
    }
    assert client.get_model_metadata("intent", "v1") == about


@pytest.mark.parametrize("column", [False, True], ids=["n", "n,1"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_client_gets_the_answers_of_the_pipeline(
    client: triton.InferenceServerClient, unit: Pipeline, *, binary: bool, column: bool
) -> None:
    result = client.infer("intent", [tensor("question", QUESTIONS, binary=binary, column=column)], request_id="42")
    expected = [unit.answer_local(text) for text in QUESTIONS]
    assert result.as_numpy("answer").shape == (3,)
    assert list(map(untimed, result.as_numpy("answer"))) == list(map(untimed, expected))
    assert [raw.decode() for raw in result.as_numpy("intent")] == [answer.intents[0] for answer in expected]
    assert result.as_numpy("confidence").dtype == np.float64
    assert result.as_numpy("confidence").tolist() == [answer.confidence for answer in expected]
    said = result.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("intent", "v0", "42")
    assert "parameters" not in said


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_only_the_outputs_asked_for_come_back_in_their_order_and_form(
    client: triton.InferenceServerClient, unit: Pipeline, *, binary: bool
) -> None:
    wanted = [
        triton.InferRequestedOutput("confidence", binary_data=binary),
        triton.InferRequestedOutput("intent", binary_data=not binary),
    ]
    result = client.infer("intent", [tensor("question", QUESTIONS)], outputs=wanted, model_version="v0")
    assert [output["name"] for output in result.get_response()["outputs"]] == ["confidence", "intent"]
    assert ("data" in result.get_output("confidence")) is not binary
    assert ("data" in result.get_output("intent")) is binary
    expected = [unit.answer_local(text) for text in QUESTIONS]
    intents = [name if binary else name.decode() for name in result.as_numpy("intent")]
    assert intents == [answer.intents[0] for answer in expected]
    assert result.as_numpy("confidence").tolist() == [answer.confidence for answer in expected]
    assert result.as_numpy("answer") is None


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_the_moment_of_asking_decides_what_years_mean_and_an_empty_one_is_now(
    client: triton.InferenceServerClient, unit: Pipeline, *, binary: bool
) -> None:
    inputs = [tensor("question", QUESTIONS[:1] * 2, binary=True), tensor("asked_at", [NEW_YEAR, ""], binary=binary)]
    asked, now = map(untimed, client.infer("intent", inputs).as_numpy("answer"))
    assert asked == untimed(unit.answer_local(QUESTIONS[0], datetime(2026, 12, 31, 16, 30, tzinfo=UTC)))
    assert asked.time_intent is not None
    assert asked.time_intent.target_years == [2028]
    assert now == untimed(unit.answer_local(QUESTIONS[0]))


def test_where_a_candidate_answers_some_users_every_version_is_told(client: triton.InferenceServerClient) -> None:
    inputs = [tensor("question", QUESTIONS), tensor("user_id", ["", "guinea", "u-1"])]
    result = client.infer("intent", inputs)
    assert [untimed(raw).model_version for raw in result.as_numpy("answer")] == ["v0", "v1", "v0"]
    assert result.get_response()["model_version"] == "v0"
    assert result.get_response()["parameters"] == {"model_versions": "v0,v1"}
    result = client.infer("intent", [tensor("question", QUESTIONS[:1]), tensor("user_id", ["guinea"])])
    assert result.get_response()["model_version"] == "v1"
    assert "parameters" not in result.get_response()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_read(client: triton.InferenceServerClient, algorithm: str) -> None:
    result = client.infer("intent", [tensor("question", QUESTIONS)], request_compression_algorithm=algorithm)
    assert result.as_numpy("intent").shape == (3,)


async def test_the_asyncio_client_is_answered_alike(aio: triton_aio.InferenceServerClient, unit: Pipeline) -> None:
    assert await aio.is_server_live()
    assert await aio.is_server_ready()
    assert await aio.is_model_ready("intent", "v0")
    assert (await aio.get_model_metadata("intent"))["versions"] == ["v0", "v1"]
    for binary in (True, False):
        result = await aio.infer("intent", [tensor("question", QUESTIONS, binary=binary)])
        assert list(map(untimed, result.as_numpy("answer"))) == [untimed(unit.answer_local(text)) for text in QUESTIONS]
    with pytest.raises(InferenceServerException) as refused:
        await aio.infer("other", [tensor("question", QUESTIONS)])
    assert refused.value.status() == "404"


@pytest.mark.parametrize(
    ("model", "version", "status", "message"),
    [
        ("other", "", "404", 'unknown model "other": this server has "intent"'),
        ("intent", "v1", "404", 'version "v1" is loaded, but v0 serves: ask that one, or none'),
        ("intent", "v9", "404", 'version "v9" is not loaded here: v0 serves'),
    ],
)
def test_a_client_is_told_which_model_and_version_it_can_ask(
    client: triton.InferenceServerClient, model: str, version: str, status: str, message: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, [tensor("question", QUESTIONS)], model_version=version)
    assert (refused.value.status(), refused.value.message()) == (status, message)


def test_a_client_is_told_that_an_endpoint_is_not_there(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.get_inference_statistics("intent")
    assert refused.value.status() == "404"
    assert refused.value.message() == "GET /v2/models/intent/stats is no endpoint of this server"


def test_before_anything_is_loaded_the_server_lives_is_not_ready_and_asks_to_come_again(empty: str) -> None:
    with connected(empty) as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("intent")
        assert not client.is_model_ready("intent", "v0")
        assert client.get_model_metadata("intent")["versions"] == []
    assert call(empty, "/v2/health/ready")[0] == 503
    assert call(empty, "/v2/models/intent/ready")[::2] == (503, {"name": "intent", "ready": False})
    for path in ("/v2/models/intent/infer", "/v2/models/intent/versions/v0/infer"):
        status, headers, said = call(empty, path, {"inputs": [question("财运")]})
        assert (status, headers["Retry-After"], said) == (503, "1", {"error": "no model is loaded yet"})


def test_plain_json_is_answered_in_plain_json(server: str, unit: Pipeline) -> None:
    body = {"id": "a-1", "inputs": [question(*QUESTIONS)], "parameters": {"priority": 1}, "of_another_extension": True}
    status, headers, said = call(server, "/v2/models/intent/versions/v0/infer", body)
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert headers["Inference-Header-Content-Length"] is None
    assert (said["id"], said["model_name"], said["model_version"]) == ("a-1", "intent", "v0")
    answer, intent, confidence = said["outputs"]
    expected = [unit.answer_local(text) for text in QUESTIONS]
    assert list(map(untimed, answer.pop("data"))) == list(map(untimed, expected))
    assert answer == {"name": "answer", "datatype": "BYTES", "shape": [3]}
    assert intent == {"name": "intent", "datatype": "BYTES", "shape": [3], "data": [a.intents[0] for a in expected]}
    assert confidence == {"name": "confidence", "datatype": "FP64", "shape": [3], "data": [a.confidence for a in expected]}
    nested = {"inputs": [question(*([text] for text in QUESTIONS), shape=[3, 1])], "outputs": [{"name": "intent"}]}
    status, _, said = call(server, "/v2/models/intent/infer", nested)
    assert (status, said["outputs"]) == (200, [intent])
    assert "id" not in said


def test_the_paths_of_the_protocol_answer_with_its_fields(server: str) -> None:
    assert call(server, "/v2")[2] == call(server, "/v2/")[2]
    assert call(server, "/v2/health/live")[::2] == (200, {"live": True})
    assert call(server, "/v2/health/ready")[::2] == (200, {"live": True, "ready": True})
    assert call(server, "/v2/models/intent/ready")[::2] == (200, {"name": "intent", "ready": True})
    assert call(server, "/v2/models/intent/versions/v0/ready")[::2] == (200, {"name": "intent", "ready": True})
    assert call(server, "/v2/models/%ff%00")[0] == 404


def test_a_refusal_is_a_400_with_an_error_and_nothing_else(server: str) -> None:
    asked = {"inputs": [question("财运", "命" * 2001)]}
    status, headers, said = call(server, "/v2/models/intent/infer", asked)
    assert (status, headers.get_content_type()) == (400, "application/json")
    assert said == {"error": 'input "question", row 1: String should have at most 2000 characters'}
    status, _, said = call(server, "/v2/models/intent/infer", b"{}", {"Content-Encoding": "gzip"})
    assert (status, list(said)) == (400, ["error"])
    assert "the body cannot be read" in said["error"]


def test_a_client_that_names_an_unknown_output_is_told_the_known_ones(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer("intent", [tensor("question", QUESTIONS)], outputs=[triton.InferRequestedOutput("score")])
    assert refused.value.status() == "400"
    assert refused.value.message() == 'unknown output "score", known are: answer, intent, confidence'


def test_a_body_may_be_larger_than_the_application_allows_elsewhere_but_not_without_end(server: str) -> None:
    asked = json.dumps({"inputs": [question(*["财运"] * 256)], "outputs": [{"name": "intent"}]}).encode()
    status, _, said = call(server, "/v2/models/intent/infer", asked + b" " * 2**21)
    assert (status, said["outputs"][0]["shape"]) == (200, [256])
    status, _, said = call(server, "/v2/models/intent/infer", asked + b" " * MAX_BODY_BYTES)
    assert (status, said) == (413, {"error": "the body is larger than 8388608 bytes: send fewer rows"})


def test_where_one_row_cannot_be_answered_the_others_are_given_up() -> None:
    given_up = []

    async def answer(text: str, user_id: str | None, asked_at: datetime | None) -> Classification:
        if text == "健康":
            raise TransientError("7 questions wait already")
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append(text)
        raise AssertionError

    with serving(answer, ["v0"]) as address:
        status, headers, said = call(address, "/v2/models/intent/infer", {"inputs": [question("财运", "健康", "性格")]})
    assert (status, headers["Retry-After"], said) == (503, "1", {"error": "7 questions wait already"})
    assert sorted(given_up) == ["性格", "财运"]
