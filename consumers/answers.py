"""Answering questions with what is loaded at that moment: who answers, how many at once, until when, and the comparison.

A question waits for its turn in one of a few threads (`consumers.turns`). So many may wait, and no more: beyond that a
request is refused at once, with the moment to come again, rather than answered too late. In a rollout the other version scores
the question as well, in a thread of its own, after the answer has left; where that thread is behind, questions are passed over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field

from consumers.turns import Limits, Turns
from consumers.units import Loaded, Units
from schema.errors import ArtefactError, TransientError
from schema.events import MAX_QUESTION_CHARS, Classification, Identifier, Moment, ShadowScored
from schema.privacy import mask
from schema.producer import EventProducer
from schema.settings import Settings
from schema.text import text_hash
from schema.topics import SHADOW_SCORED

log = logging.getLogger(__name__)
PREDICTIONS = Counter("intentloop_predictions", "answers by the step that gave them", ["stage", "version"])
LATENCY = Histogram(
    "intentloop_prediction_duration_seconds", "one answer", buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 5)
)
WAITING = Gauge("intentloop_predictions_waiting", "questions that are being answered or wait for it")
REFUSED = Counter("intentloop_predictions_refused", "questions that were not answered", ["reason"])
SHADOWED = Counter("intentloop_shadow_scores", "questions that the other version scored too", ["outcome"])
SHADOWS_WAITING: Final = 64


class Overloaded(TransientError):
    """As many questions wait as may."""


class TooLate(TransientError):
    """The deadline came before the answer."""


class Question(BaseModel):
    """The body of ``POST /v1/classify``. `timeout_ms`: how long the answer is worth waiting for."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    asked_at: Moment | None = None
    timeout_ms: int | None = Field(default=None, ge=1, le=600_000)


def limits(one: Loaded) -> Limits:
    """What the model of `one` is worth."""
    predictor = one.unit.predictor
    return Limits(predictor.at_once, predictor.side_by_side)


class Answers:
    """The answering side of a replica."""

    def __init__(self, settings: Settings, producer: EventProducer) -> None:
        self._turns = Turns(self._score, limits, threads=settings.inference_threads)
        self._most = settings.answer_queue
        self._seconds = settings.answer_timeout
        self._inside = 0
        self._confidence = settings.confidence
        self._producer = producer
        self._shadow = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._room = BoundedSemaphore(SHADOWS_WAITING)

    def stop(self) -> None:
        """End the threads; what waits for the shadow is passed over."""
        self._shadow.shutdown(cancel_futures=True)
        self._turns.stop()

    async def answer(self, question: Question, units: Units | None) -> Classification:
        """Answer with `units`, as they are at this moment.

        Raises:
            TransientError: nothing is loaded yet.
            Overloaded: too many wait.
            TooLate: the deadline came first.
        """
        if units is None:
            raise TransientError("no model is loaded yet")
        if self._inside >= self._most:
            REFUSED.labels("overloaded").inc()
            raise Overloaded(f"{self._inside} questions wait already")
        began = time.perf_counter()
        seconds = question.timeout_ms / 1000 if question.timeout_ms else self._seconds
        self._inside += 1
        WAITING.set(self._inside)
        try:
            answer = await self._within(question, units, began, seconds)
        finally:
            self._inside -= 1
            WAITING.set(self._inside)
        LATENCY.observe(time.perf_counter() - began)
        PREDICTIONS.labels(answer.method, answer.model_version).inc()
        return answer

    async def _within(self, question: Question, units: Units, began: float, seconds: float) -> Classification:
        chosen = units.for_user(question.user_id or question.session_id or question.question)
        try:
            async with asyncio.timeout(seconds):
                chosen, local = await self._local(question, units, chosen)
        except TimeoutError:
            REFUSED.labels("too_late").inc()
            raise TooLate(f"not answered within {1000 * seconds:.0f} ms") from None
        answer = await chosen.unit.complete(question.question, local, began, seconds=seconds)
        if answer.method == "llm_fallback":
            chosen.figures.asked_llm()
        if (other := units.other(chosen)) is not None:
            self._compare(question, local, chosen, other)
        return answer

    async def _local(self, question: Question, units: Units, chosen: Loaded) -> tuple[Loaded, Classification]:
        """The answer of model and rules. A candidate that fails is counted, and what serves answers in its place."""
        for one in dict.fromkeys((chosen, units.serving)):
            try:
                return one, await asyncio.wrap_future(self._turns.ask(one, question))
            except ArtefactError as error:
                one.figures.failed()
                log.error("%s failed on a question: %s", one.unit.version, error)
        raise TransientError("the model failed on this question")

    def _score(self, one: Loaded, questions: Sequence[Question]) -> list[Classification]:
        """The answers of model and rules. Each took as long as all, for who asked."""
        began = time.perf_counter()
        answers = one.unit.answer_together([(question.question, question.asked_at) for question in questions])
        seconds = time.perf_counter() - began
        for local in answers:
            one.figures.answered(local.confidence, seconds, unsure=local.confidence < self._confidence)
        return answers

    def _compare(self, question: Question, said: Classification, chosen: Loaded, other: Loaded) -> None:
        if not self._room.acquire(blocking=False):
            SHADOWED.labels("passed_over").inc()
            return
        self._shadow.submit(self._score_in_shadow, question, said, chosen, other).add_done_callback(self._scored)

    def _scored(self, done: Future[None]) -> None:
        self._room.release()
        if done.cancelled():
            return
        if (mistake := done.exception()) is not None:
            log.error("a comparison failed", exc_info=mistake)

    def _score_in_shadow(self, question: Question, said: Classification, chosen: Loaded, other: Loaded) -> None:
        try:
            (would,) = self._score(other, [question])
        except ArtefactError as error:
            other.figures.failed()
            SHADOWED.labels("failed").inc()
            log.error("%s failed on a question in the shadow: %s", other.unit.version, error)
            return
        agreed = set(would.intents) == set(said.intents)
        other.figures.compared(agreed=agreed)
        chosen.figures.compared(agreed=agreed)
        event = ShadowScored(
            generation=other.activation.generation,
            version=other.unit.version,
            text_hash=text_hash(mask(question.question)).hex(),
            intents=would.intents,
            confidence=would.confidence,
            served_version=chosen.unit.version,
            agreed=agreed,
            scored_at=datetime.now(UTC),
        )
        try:
            self._producer.send(SHADOW_SCORED, event, key=event.text_hash)
            SHADOWED.labels("scored").inc()
        except TransientError as error:
            SHADOWED.labels("not_sent").inc()
            log.warning("a comparison was not sent: %s", error)
