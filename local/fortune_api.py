"""A sample fortune API: what an upstream service does. It asks a replica, publishes the question, and answers its user.

``POST /ask {question, user_id, consent}`` with an optional ``Idempotency-Key`` (a UUID): a client that tries again with the
same key has its question stored once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from dataclasses import dataclass
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schema.errors import ConfigError, TransientError
from schema.events import MAX_QUESTION_CHARS, Classification, Consent, QuestionAsked
from schema.health import add_health_routes, serve
from schema.ids import uuid7
from schema.logs import set_up_logs
from schema.publisher import QuestionPublisher
from schema.settings import Settings, load_settings

ANSWER_SECONDS: Final = ClientTimeout(total=5)


class Ask(BaseModel):
    """The body of ``POST /ask``."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    user_id: str = Field(min_length=1, max_length=64)
    consent: bool | None = None


@dataclass(frozen=True, slots=True)
class FortuneApi:
    """The sample API's parts.

    Attributes:
        replicas: their base URLs; they are asked in turn.
    """

    publisher: QuestionPublisher
    replicas: itertools.cycle[str]
    http: ClientSession

    async def ask(self, request: web.Request) -> web.Response:
        """Answer 200 once the broker has the question; 503 where no classification could be had (the question is kept)."""
        try:
            asked = Ask.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from None
        classification = await self._classify(asked.question)
        event_id = request.headers.get("Idempotency-Key") or str(uuid7())
        event = QuestionAsked(
            question=asked.question,
            user_id=asked.user_id,
            consent=None if asked.consent is None else Consent(training=asked.consent, version="sample"),
            classification=classification,
        )
        try:
            await asyncio.wrap_future(self.publisher.publish(event, event_id=event_id))
        except TransientError as error:
            return web.json_response({"error": str(error)}, status=503)
        if classification is None:
            return web.json_response({"event_id": event_id, "error": "no classification"}, status=503)
        said = classification.model_dump(mode="json", include={"intents", "confidence", "model_version", "replica_id"})
        return web.json_response({"event_id": event_id} | said)

    async def _classify(self, question: str) -> Classification | None:
        """What the next replica says; None where it does not answer. No second try: the demo counts every failure."""
        try:
            async with self.http.post(f"{next(self.replicas)}/v1/classify", json={"question": question}) as answer:
                if answer.status != 200:
                    return None
                return Classification.model_validate_json(await answer.read())
        except (ClientError, TimeoutError, ValidationError):
            return None


async def _run(settings: Settings, port: int, replicas: list[str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ClientSession(timeout=ANSWER_SECONDS) as http:
        with QuestionPublisher(settings, source="sample-fortune-api") as publisher:
            sample = FortuneApi(publisher, itertools.cycle(replicas), http)
            app = web.Application()
            add_health_routes(app, {})
            app.router.add_post("/ask", sample.ask)
            site = await serve(app, settings.host, port)
            await stop.wait()
            await site.cleanup()


def main() -> None:
    """``python -m local.fortune_api PORT REPLICA_URL...``"""
    try:
        settings = load_settings(os.environ)
        set_up_logs("fortune-api", settings.log_level)
        asyncio.run(_run(settings, int(sys.argv[1]), sys.argv[2:]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
