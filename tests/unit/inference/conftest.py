"""A small server that speaks the chat-completions protocol, for the real openai client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from inference.llm import Llm
from schema.settings import Settings

Answer = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def completion(content: object) -> dict[str, Any]:
    """A reply of the protocol whose message is `content`; what is no text is sent as its JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


class LlmServer:
    """Answers each request with the next of `answers`, the last one again and again; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""

    def says(self, content: object) -> None:
        """The next answer's message."""
        self.replies(json.dumps(completion(content)))

    def replies(self, body: str, status: int = 200, content_type: str = "application/json") -> None:
        """The next answer as it goes over the wire; a client that may try again does so at once."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=body, status=status, content_type=content_type, headers={"retry-after-ms": "1"})

        self.answers.append(answer)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


@pytest.fixture
async def server() -> AsyncIterator[LlmServer]:
    """The server, listening."""
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


@pytest.fixture
async def llm(server: LlmServer) -> AsyncIterator[Llm]:
    """The client under test, with a short patience."""
    client = Llm(Settings(llm_url=server.url, llm_api_key=SecretStr("the key"), llm_model="m-1", llm_timeout=0.4))
    yield client
    await client.close()
