"""A replica: answers questions over HTTP, and follows `model.activated` without failing a request.

It reads the compacted topic by itself, in no group, so that every replica hears every activation. A new unit is fetched,
verified and warmed up beside the serving one; then one reference is swapped (`consumers.units`). Requests that hold the old
one finish with it (`consumers.answers`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from datetime import datetime
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumers.answers import Answers, Overloaded, Question, TooLate
from consumers.oip import add_oip_routes
from consumers.units import Loader
from inference.llm import Llm
from schema.errors import TransientError
from schema.events import Classification
from schema.health import add_health_routes, serve
from schema.logs import set_up_logs
from schema.producer import EventProducer
from schema.settings import Settings

log = logging.getLogger(__name__)
CLOSE_SECONDS: Final = 5.0
STALE_HEADER: Final = "Intentloop-Stale"


class Questions(BaseModel):
    """The body of ``POST /v1/classify/batch``."""

    model_config = ConfigDict(extra="forbid")

    questions: list[Question] = Field(min_length=1, max_length=256)


class Replica:
    """Composition root of a replica."""

    def __init__(self, settings: Settings) -> None:
        settings.require("kafka")
        self.settings = settings
        self.llm = Llm(settings) if settings.llm_url else None
        self.producer = EventProducer(settings, source=f"intentloop/replica/{settings.replica_name}")
        self.loader = Loader(settings, self.producer, self.llm)
        self.answers = Answers(settings, self.producer)

    def start(self) -> None:
        """Begin to follow activations."""
        self.loader.start()

    def stop(self) -> None:
        """Say that this replica has stopped, and end its threads."""
        self.answers.stop()
        self.loader.stop()
        try:
            self.producer.close(CLOSE_SECONDS)
        except TransientError as away:
            log.warning("the last reports were not sent: %s", away)

    async def answer(self, question: Question) -> Classification:
        """Answer one question with what serves at this moment; raises as `Answers.answer`."""
        return await self.answers.answer(question, self.loader.units)

    async def answer_text(self, text: str, user_id: str | None, asked_at: datetime | None) -> Classification:
        """As `answer`, for clients of the Open Inference Protocol."""
        return await self.answer(Question(question=text, user_id=user_id, asked_at=asked_at))

    def versions(self) -> list[str]:
        """What is loaded, the serving version first."""
        units = self.loader.units
        return [one.unit.version for one in (units.serving, units.candidate) if one is not None] if units is not None else []

    def routes(self) -> web.Application:
        """The HTTP side."""
        routes = web.Application(client_max_size=2**20)

        async def model() -> None:
            if self.loader.units is None:
                raise TransientError("no model is loaded yet")

        async def classify(request: web.Request) -> web.Response:
            asked = await _body(request, Question)
            return self._told((await self._or_refused(asked)).model_dump_json())

        async def classify_batch(request: web.Request) -> web.Response:
            asked = await _body(request, Questions)
            answers = await asyncio.gather(*map(self._or_refused, asked.questions))
            return self._told(f'{{"success":true,"answers":[{",".join(a.model_dump_json() for a in answers)}]}}')

        add_health_routes(routes, {"model": model})
        add_oip_routes(routes, answer=self.answer_text, versions=self.versions)
        routes.router.add_post("/v1/classify", classify)
        routes.router.add_post("/v1/classify/batch", classify_batch)
        return routes

    def _told(self, body: str) -> web.Response:
        """An answer; where what serves was remembered and Kafka was not heard yet, a header says that it may be stale."""
        stale = {STALE_HEADER: "1"} if self.loader.stale else None
        return web.Response(text=body, content_type="application/json", headers=stale)

    async def _or_refused(self, question: Question) -> Classification:
        try:
            return await self.answer(question)
        except TooLate as error:
            raise web.HTTPGatewayTimeout(text=_error("too_late", str(error)), content_type="application/json") from None
        except TransientError as error:
            code = "overloaded" if isinstance(error, Overloaded) else "not_ready"
            raise web.HTTPServiceUnavailable(
                text=_error(code, str(error)), content_type="application/json", headers={"Retry-After": "1"}
            ) from None


def _error(code: str, message: str, field: str | None = None) -> str:
    return json.dumps({"success": False, "error": {"code": code, "message": message, "field": field}}, ensure_ascii=False)


M = TypeVar("M", bound=BaseModel)


async def _body(request: web.Request, model: type[M]) -> M:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        broken = first["type"] == "json_invalid"
        status = web.HTTPBadRequest if broken else web.HTTPUnprocessableEntity
        text = _error("invalid_json" if broken else "invalid", first["msg"], field)
        raise status(text=text, content_type="application/json") from None


def run(settings: Settings) -> None:
    """Run a replica; returns after SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting is missing.
    """
    set_up_logs("replica", settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    replica = Replica(settings)
    site = await serve(replica.routes(), settings.host, settings.replica_port)
    replica.start()
    await stop.wait()
    await site.cleanup()  # finishes the requests in flight
    await asyncio.to_thread(replica.stop)
    if replica.llm is not None:
        await replica.llm.close()
