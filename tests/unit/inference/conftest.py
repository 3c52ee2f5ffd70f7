"""A small server that speaks the chat-completions protocol, for the real openai client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from inference.llm import Llm
from schema.settings import Settings
from schema.taxonomy import INTENTS

Answer = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]
MakeLlm = Callable[..., Llm]
AT_ONCE: Mapping[str, str] = {"retry-after-ms": "1"}


def completion(content: object, usage: object = None) -> dict[str, Any]:
    """A reply of the protocol whose message is `content`; what is no text is sent as its JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    reply = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return reply if usage is None else reply | {"usage": usage}


def faults_of(request: dict[str, Any]) -> list[str]:
    """What a strict endpoint would refuse, and what would leave the answer open."""
    roles = [message.get("role") for message in request.get("messages", [])]
    wanted = request.get("response_format", {})
    if wanted.get("type") == "json_schema":
        given = wanted["json_schema"]
        schema = given["schema"]
        closed = given["strict"] is True and schema["additionalProperties"] is False
        whole = set(schema["required"]) == set(schema["properties"])
        known = schema["properties"]["intents"]["items"]["enum"] == list(INTENTS)
    else:
        instruction = request["messages"][0]["content"]
        closed = wanted == {"type": "json_object"} and "JSON Schema" in instruction
        whole, known = '"additionalProperties": false' in instruction, all(f'"{name}"' in instruction for name in INTENTS)
    checks = {
        "no model": bool(request.get("model")),
        "roles": roles == ["system", "user"],
        "the schema is open": closed,
        "strict schemas require every property": whole,
        "the intents": known,
    }
    return [fault for fault, holds in checks.items() if not holds]


class LlmServer:
    """Answers each request with the next of `answers`, the last one again and again; remembers what it was asked.

    Attributes:
        faults: what was wrong with any request.
        most: requests that were inside at once.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults: list[str] = []
        self.most = 0
        self.url = ""
        self._inside = 0
        self._arrival = asyncio.Condition()

    def says(self, content: object, usage: object = None) -> None:
        """The next answer's message."""
        self.replies(json.dumps(completion(content, usage)))

    def replies(
        self, body: str, status: int = 200, content_type: str = "application/json", headers: Mapping[str, str] = AT_ONCE
    ) -> None:
        """The next answer as it goes over the wire; a client that may try again does so at once."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=body, status=status, content_type=content_type, headers=headers)

        self.answers.append(answer)

    def holds(self, content: object) -> asyncio.Event:
        """The next answer's message, which waits for the event that is returned."""
        release = asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            await release.wait()
            return web.json_response(completion(content))

        self.answers.append(answer)
        return release

    def breaks_off(self) -> None:
        """The next answer's connection is reset in the middle of the body."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"choices": [{"mess')
            assert request.transport is not None
            request.transport.abort()
            return response

        self.answers.append(answer)

    def drips(self) -> None:
        """The next answer never ends, and is never silent for long."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            with suppress(ConnectionError):
                await response.prepare(request)
                while True:
                    await response.write(b" ")
                    await asyncio.sleep(0.02)
            return response

        self.answers.append(answer)

    async def arrived(self, count: int) -> None:
        """Return once so many requests have come."""
        async with self._arrival, asyncio.timeout(10):
            await self._arrival.wait_for(lambda: len(self.asked) >= count)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        asked = await request.json()
        self.faults += faults_of(asked)
        self.keys.append(request.headers.get("Authorization"))
        self._inside += 1
        self.most = max(self.most, self._inside)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        async with self._arrival:
            self.asked.append(asked)
            self._arrival.notify_all()
        try:
            return await answer(request)
        finally:
            self._inside -= 1


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    """It stands still until a test moves it."""
    return Hands()


@pytest.fixture
async def server() -> AsyncIterator[LlmServer]:
    """The server, listening. Every request must be one that a strict endpoint takes."""
    made = LlmServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield made
    await runner.cleanup()
    assert made.faults == []


@pytest.fixture
async def make_llm(server: LlmServer) -> AsyncIterator[MakeLlm]:
    """Makes the client under test from the settings that a test is about, named without their ``llm_``."""
    async with AsyncExitStack() as stack:

        def make(*, clock: Callable[[], float] | None = None, today: Callable[[], Any] | None = None, **given: object) -> Llm:
            named = {"url": server.url, "api_key": SecretStr("the key"), "model": "m-1", "timeout": 5} | given
            effects: dict[str, Any] = {"clock": clock, "today": today}
            settings = Settings.model_validate({f"llm_{name}": value for name, value in named.items()})
            client = Llm(settings, **{name: effect for name, effect in effects.items() if effect is not None})
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def llm(make_llm: MakeLlm) -> Llm:
    """The client with the settings as they come."""
    return make_llm()


class Metrics:
    """What the metrics have grown by since the test began."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> dict[tuple[str, str], float]:
        samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
        return {(s.name, ",".join(s.labels.values())): s.value for s in samples if s.name.startswith("intentloop_llm_")}

    def grown(self, name: str, label: str = "") -> float:
        """By how much ``intentloop_llm_<name>`` has grown."""
        key = (f"intentloop_llm_{name}", label)
        return self._read().get(key, 0.0) - self._before.get(key, 0.0)

    def outcomes(self) -> dict[str, float]:
        """The outcomes of the test's questions."""
        now = self._read()
        grown = {label: self.grown("calls_total", label) for name, label in now if name == "intentloop_llm_calls_total"}
        return {label: count for label, count in grown.items() if count}


@pytest.fixture
def metrics() -> Metrics:
    """Counting from here on."""
    return Metrics()
