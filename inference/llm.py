"""The LLM as the last step: any OpenAI-compatible endpoint, masked text only, answers only from the known intents.

A question goes through, in this order: the answers that are known, a call for the same question that is under way, the day's
budget, the circuit, a free slot; then it is sent, and sent again where the endpoint says that it may pass. Wherever this ends
without a legal answer, the caller keeps its own and gets the reason in one line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, get_args

import openai
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from inference.llm_endpoint import Endpoint, retry_after
from inference.llm_guard import Budget, Circuit, Known, LlmFailed, Outcome, digest, same_question
from inference.llm_wire import read_answer
from inference.time_intent import today_in_shanghai
from schema.errors import ConfigError
from schema.privacy import mask
from schema.settings import Settings, variable
from schema.taxonomy import Intent

CALLS = Counter("intentloop_llm_calls", "questions handed to the LLM, by how that ended", ["outcome"])
CIRCUIT_OPEN = Gauge("intentloop_llm_circuit_open", "1 while the LLM is not asked because its last calls failed")
for _outcome in ("answered", "cached", *get_args(Outcome)):
    CALLS.labels(_outcome)  # from 0 on, so that the first one is an increase

SLOT_SHARE: Final = 0.25
"""The share of the time limit that a question waits for a free slot. Then it is answered locally: what is left of the time
would hardly do for a call."""
ABOUT_THE_QUESTION: Final = frozenset({400, 413, 422})
"""Statuses that a question can bring about (a content filter's, say). They do not count against the endpoint, or a few such
questions would keep all others from it."""


@dataclass(frozen=True, slots=True)
class LlmSaid:
    """A legal answer.

    Attributes:
        reasoning: masked, on one line; empty where it was given to a question that only means the same.
        cached: no call was made for this question.
        cost: of the reply, in the currency of the prices; 0 if cached, or without prices.
        seconds: how long this question took, with retries and waiting.
    """

    intents: list[Intent]
    confidence: float
    reasoning: str
    cached: bool
    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer, and the digest of the very text that it was given to."""

    text: bytes
    said: LlmSaid


class Llm:
    """One endpoint, asked from one event loop. Circuit, budget and cache are this process's own.

    Args:
        settings: those that begin with ``llm_``.
        clock: seconds that only grow, for circuit and cache.
        today: the day that the budget is for.

    Raises:
        ConfigError: a budget of money without prices.
    """

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, today: Callable[[], date] = today_in_shanghai
    ) -> None:
        if settings.llm_daily_budget and not (settings.llm_price_in or settings.llm_price_out):
            prices = f"{variable('llm_price_in')} and {variable('llm_price_out')}"
            raise ConfigError(f"{variable('llm_daily_budget')} needs prices to count with: set {prices}")
        self._timeout = settings.llm_timeout
        self._concurrency = settings.llm_concurrency
        self._slots = asyncio.Semaphore(settings.llm_concurrency)
        self._circuit = Circuit(failures=settings.llm_circuit_failures, seconds=settings.llm_circuit_seconds, clock=clock)
        self._budget = Budget(calls=settings.llm_daily_calls, cost=settings.llm_daily_budget, today=today)
        self._known = Known[_Found](size=settings.llm_cache_size, seconds=settings.llm_cache_ttl, clock=clock)
        self._endpoint = Endpoint(settings, self._budget)
        self._flights: dict[bytes, asyncio.Task[_Found]] = {}

    async def classify(self, question: str) -> LlmSaid:
        """Ask for the intents of `question`, which is masked first.

        A caller may give up early (cancel this): the call goes on for whoever asks the same, and its answer is kept.

        Raises:
            LlmFailed: a TransientError; no answer, or none within the schema.
        """
        try:
            said = await self._classify(mask(question))
        except LlmFailed as failure:
            CALLS.labels(failure.outcome).inc()
            raise
        except asyncio.CancelledError:
            CALLS.labels("timeout").inc()  # the caller's time limit was the shorter one
            raise
        CALLS.labels("cached" if said.cached else "answered").inc()
        return said

    async def close(self) -> None:
        """End the calls under way and close the connections."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._endpoint.close()

    async def _classify(self, masked: str) -> LlmSaid:
        began = time.perf_counter()
        key, text = same_question(masked), digest(masked)
        found = self._known.get(key)
        if found is None and key not in self._flights:
            return (await self._landed(self._depart(key, text, masked))).said
        if found is None:
            found = await self._landed(self._flights[key])
        # A question that only means the same may differ in its numbers; the other's are not for this asker to read.
        reasoning = found.said.reasoning if found.text == text else ""
        return replace(found.said, reasoning=reasoning, cached=True, cost=0.0, seconds=time.perf_counter() - began)

    def _depart(self, key: bytes, text: bytes, masked: str) -> asyncio.Task[_Found]:
        """Begin the one call for all who ask the same at this time."""

        async def call() -> _Found:
            found = _Found(text, await self._ask(masked))
            self._known.put(key, found)
            return found

        def landed(flight: asyncio.Task[_Found]) -> None:
            del self._flights[key]
            if not flight.cancelled():
                flight.exception()  # seen, even where all who asked have gone

        flight = asyncio.create_task(call())
        self._flights[key] = flight
        flight.add_done_callback(landed)
        return flight

    async def _landed(self, flight: asyncio.Task[_Found]) -> _Found:
        await asyncio.wait([flight])  # which a cancelled caller leaves as it is
        if flight.cancelled():
            raise LlmFailed("error", "the LLM did not answer: its client was closed")
        return flight.result()

    async def _ask(self, masked: str) -> LlmSaid:
        began = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._timeout
        self._budget.check()
        self._circuit.check()
        await self._take_slot()
        try:
            content, cost = await self._call(masked, deadline)
        finally:
            self._slots.release()
        try:
            answer = read_answer(content)
        except ValidationError:
            raise LlmFailed("outside_schema", "the LLM's answer is outside the schema") from None
        seconds = time.perf_counter() - began
        return LlmSaid(answer.intents, answer.confidence, answer.reasoning, cached=False, cost=cost, seconds=seconds)

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._timeout * SLOT_SHARE):
                await self._slots.acquire()
        except TimeoutError:
            raise LlmFailed("busy", f"the LLM is not asked: {self._concurrency} calls are under way already") from None

    async def _call(self, masked: str, deadline: float) -> tuple[str, float]:
        """What the model said and what that cost; the circuit learns whether the endpoint is well."""
        era = self._circuit.enter()
        try:
            async with asyncio.timeout_at(deadline):
                said = await self._endpoint.ask(masked, deadline)
            self._circuit.succeeded(era)
        except (TimeoutError, openai.APITimeoutError):
            self._circuit.failed(era)
            raise LlmFailed("timeout", f"the LLM did not answer within {self._timeout:g} s") from None
        except openai.APIStatusError as error:
            if error.status_code in ABOUT_THE_QUESTION:
                self._circuit.succeeded(era)
            else:
                pause = retry_after(error) or 0.0
                self._circuit.failed(era, pause if pause > self._timeout else 0.0)
            raise LlmFailed("error", f"the LLM did not answer: HTTP {error.status_code}") from error
        except openai.OpenAIError as error:
            self._circuit.failed(era)
            raise LlmFailed("error", f"the LLM did not answer: {type(error).__name__}") from error
        except ValidationError:
            self._circuit.failed(era)
            raise LlmFailed("error", "the LLM did not answer: its reply is no chat completion") from None
        finally:
            self._circuit.leave(era)
            CIRCUIT_OPEN.set(self._circuit.is_open)
        return said
