"""A replica: answers questions over HTTP, and follows `model.activated` without failing a request.

It reads the compacted topic by itself, in no group, so that every replica hears every activation. A new unit is fetched,
verified and warmed up beside the serving one; then one reference is swapped. If anything fails the old unit serves on, and
`replica.status` says why. Of several activations in a row only the last is loaded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.artefact import SERVING, fetch
from inference.llm import Llm
from inference.pipeline import Pipeline
from schema.errors import ArtefactError, TransientError
from schema.events import MAX_QUESTION_CHARS, Classification, Envelope, Identifier, ModelActivated, Moment, ReplicaStatus
from schema.follower import Follower
from schema.health import add_health_routes, serve
from schema.logs import set_up_logs
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import MODEL_ACTIVATED, REPLICA_STATUS

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10.0
"""A replica repeats its last report this often, so that a dead one can be told from a silent one."""
PREDICTIONS = Counter("intentloop_predictions", "answers by the step that gave them", ["stage", "version"])
LATENCY = Histogram(
    "intentloop_prediction_duration_seconds", "one answer", buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 5)
)
RELOADS = Counter("intentloop_model_reloads", "reloads by outcome", ["outcome"])
RELOAD_SECONDS = Histogram("intentloop_model_reload_duration_seconds", "from event to serving", buckets=(0.1, 0.3, 1, 3, 10, 60))
GENERATION = Gauge("intentloop_model_generation", "the activation that serves")


class Question(BaseModel):
    """The body of ``POST /v1/classify``."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    asked_at: Moment | None = None


class Questions(BaseModel):
    """The body of ``POST /v1/classify/batch``."""

    model_config = ConfigDict(extra="forbid")

    questions: list[Question] = Field(min_length=1, max_length=256)


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers now, and the activation that brought it."""

    unit: Pipeline
    generation: int


class Replica:
    """One replica's state. `serving` is replaced as a whole, never changed."""

    def __init__(self, settings: Settings) -> None:
        settings.require("kafka")
        self.settings = settings
        self.serving: Serving | None = None
        self.llm = Llm(settings) if settings.llm_url else None
        self.threads = ThreadPoolExecutor(settings.inference_threads, thread_name_prefix="answer")
        self.producer = EventProducer(settings, source=f"intentloop/replica/{settings.replica_name}")
        self.follower = Follower(settings, MODEL_ACTIVATED, ModelActivated, self._hear)
        self._wanted: ModelActivated | None = None
        self._said: ReplicaStatus | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._loader = threading.Thread(target=self._load_wanted, name="load", daemon=True)

    def start(self) -> None:
        """Begin to follow activations."""
        self._loader.start()
        self.follower.start()

    def stop(self) -> None:
        """Say that this replica has stopped, and end its threads."""
        self._stopping.set()
        self._news.set()
        self.follower.stop()
        self._loader.join()
        if self._wanted is not None:
            self._report("stopped", self._wanted)
        self.producer.close()
        self.threads.shutdown()

    def _hear(self, envelope: Envelope[ModelActivated]) -> None:
        """Remember the newest activation; older ones are ignored."""
        said = envelope.data
        if self._wanted is None or said.generation > self._wanted.generation:
            self._wanted = said
            self._news.set()

    def _load_wanted(self) -> None:
        while True:
            heard = self._news.wait(HEARTBEAT_SECONDS)
            self._news.clear()
            if self._stopping.is_set():
                return
            if heard and self._wanted is not None:
                self._load(self._wanted)
            elif self._said is not None:
                self._send(self._said.model_copy(update={"reported_at": datetime.now(UTC)}))

    def _load(self, wanted: ModelActivated) -> None:
        """Load beside, then swap; on failure keep what serves."""
        began = time.monotonic()
        settings = self.settings
        try:
            cache = settings.var / "cache"
            folder = fetch(wanted.model_url, sha256=wanted.manifest_sha256, cache=cache, roles=SERVING)
            unit = Pipeline.load(
                folder,
                threads=settings.inference_threads,
                confidence=settings.confidence,
                llm=self.llm,
                replica_id=settings.replica_name,
            )
        except ArtefactError as error:
            log.error("generation %d cannot be served: %s", wanted.generation, error)
            RELOADS.labels("load_failed").inc()
            self._report("load_failed", wanted, error=str(error), seconds=time.monotonic() - began)
            return
        self.serving = Serving(unit, wanted.generation)
        seconds = time.monotonic() - began
        RELOADS.labels("loaded").inc()
        RELOAD_SECONDS.observe(seconds)
        GENERATION.set(wanted.generation)
        log.info("serving %s, generation %d", unit.version, wanted.generation)
        self._report("loaded", wanted, seconds=seconds)

    def _report(
        self, state: Literal["loaded", "load_failed", "stopped"], wanted: ModelActivated, *, error: str = "", seconds: float = 0.0
    ) -> None:
        serving = self.serving
        name = self.settings.replica_name
        status = ReplicaStatus(
            replica_id=name,
            state=state,
            wanted_generation=wanted.generation,
            loaded_generation=serving.generation if serving else 0,
            version=serving.unit.version if serving else "",
            rules_revision=serving.unit.rules.revision if serving else 0,
            error=error,
            seconds=round(seconds, 3),
            url=f"http://{self.settings.host}:{self.settings.replica_port}",
            reported_at=datetime.now(UTC),
        )
        self._said = status
        self._send(status)

    def _send(self, status: ReplicaStatus) -> None:
        try:
            self.producer.send(REPLICA_STATUS, status, key=status.replica_id)
        except TransientError as failure:
            log.warning("the state %s was not reported: %s", status.state, failure)

    async def answer(self, question: Question) -> Classification:
        """Answer one question with what serves at this moment.

        Raises:
            TransientError: nothing is loaded yet.
        """
        serving = self.serving
        if serving is None:
            raise TransientError("no model is loaded yet")
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        local = await loop.run_in_executor(self.threads, serving.unit.answer_local, question.question, question.asked_at)
        answer = await serving.unit.complete(question.question, local, began)
        LATENCY.observe(time.perf_counter() - began)
        PREDICTIONS.labels(answer.method, answer.model_version).inc()
        return answer

    def routes(self) -> web.Application:
        """The HTTP side."""
        routes = web.Application(client_max_size=2**20)

        async def model() -> None:
            if self.serving is None:
                raise TransientError("no model is loaded yet")

        async def classify(request: web.Request) -> web.Response:
            asked = await _body(request, Question)
            return _json((await self._or_503(asked)).model_dump_json())

        async def classify_batch(request: web.Request) -> web.Response:
            asked = await _body(request, Questions)
            answers = await asyncio.gather(*map(self._or_503, asked.questions))
            return _json(f'{{"success":true,"answers":[{",".join(a.model_dump_json() for a in answers)}]}}')

        add_health_routes(routes, {"model": model})
        routes.router.add_post("/v1/classify", classify)
        routes.router.add_post("/v1/classify/batch", classify_batch)
        return routes

    async def _or_503(self, question: Question) -> Classification:
        try:
            return await self.answer(question)
        except TransientError as error:
            raise web.HTTPServiceUnavailable(
                text=_error("not_ready", str(error)), content_type="application/json", headers={"Retry-After": "1"}
            ) from None


def _json(body: str) -> web.Response:
    return web.Response(text=body, content_type="application/json")


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
