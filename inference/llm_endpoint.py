"""Requests to one OpenAI-compatible endpoint, through the ``openai`` client: retries, the form it takes, cost and latency.

Retries are ours and not the client's: they end where the next pause would outlast the time that is left, and each request
counts against the day's budget.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import random
from datetime import UTC, datetime
from typing import Any, Final

import openai
from prometheus_client import Counter, Histogram

from inference.llm_guard import Budget
from inference.llm_wire import Form, read_reply
from schema.settings import Settings

log = logging.getLogger(__name__)

SECONDS = Histogram(
    "intentloop_llm_call_duration_seconds",
    "one request to the LLM, failed ones too",
    buckets=(0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 60),
)
COST = Counter("intentloop_llm_cost", "what the LLM's replies cost, in the currency of the prices")
TOKENS = Counter("intentloop_llm_tokens", "tokens of requests that were replied to", ["direction"])

RETRIES: Final = 2
BACKOFF: Final = 0.5
"""Seconds before the first retry; twice that before the second. Less a quarter at random, so that replicas spread."""


class Endpoint:
    """The client of one endpoint, for one event loop."""

    def __init__(self, settings: Settings, budget: Budget) -> None:
        self._settings = settings
        self._budget = budget
        self._form = Form()
        self._client = openai.AsyncOpenAI(
            base_url=settings.llm_url,
            api_key=settings.llm_api_key.get_secret_value() or "none",
            timeout=settings.llm_timeout,
            max_retries=0,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, masked: str, deadline: float) -> tuple[str, float]:
        """What the model said to `masked`, and what that cost.

        Sends until there is a reply, no retry is left, or the pause before the next one would outlast `deadline`, a time of
        the event loop. The caller sees to it that a request under way ends there.

        Raises:
            LlmFailed: the day's budget is used up.
            openai.OpenAIError: the request failed.
            ValidationError: the reply is no chat completion.
        """
        form, failures = self._form, 0
        while True:
            try:
                said = await self._send(masked, form)
            except openai.APIError as error:
                if (simpler := _simpler(form, error)) is not None:
                    form = simpler
                    continue
                failures += 1
                pause = _pause(error, failures)
                if pause is None or failures > RETRIES or asyncio.get_running_loop().time() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
            else:
                self._keep(form)
                return said

    async def _send(self, masked: str, form: Form) -> tuple[str, float]:
        settings = self._settings
        messages: Any = form.messages(masked)
        self._budget.take()
        with SECONDS.time():
            raw = await self._client.chat.completions.with_raw_response.create(
                model=settings.llm_model, messages=messages, extra_body=form.options(settings.llm_max_tokens)
            )
        reply = read_reply(raw.http_response.content, messages)
        cost = (reply.tokens_in * settings.llm_price_in + reply.tokens_out * settings.llm_price_out) / 1_000_000
        self._budget.spend(cost)
        COST.inc(cost)
        TOKENS.labels("in").inc(reply.tokens_in)
        TOKENS.labels("out").inc(reply.tokens_out)
        return reply.content, cost

    def _keep(self, form: Form) -> None:
        """Put the next requests in this form too, now that the endpoint took it."""
        if form.left_out > self._form.left_out:
            log.warning("the LLM endpoint refuses %s: no longer sent", ", ".join(sorted(form.left_out)))
            self._form = form


def _simpler(form: Form, error: openai.APIError) -> Form | None:
    """What to send instead, if the endpoint refused a part of the request by name."""
    return form.without(str(error)) if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError) else None


def _pause(error: openai.APIError, failures: int) -> float | None:
    """Seconds before the next try; None if the same request would fail again."""
    if isinstance(error, openai.APIStatusError):
        if error.status_code not in {408, 409, 429} and error.status_code < 500:
            return None
        if (named := retry_after(error)) is not None:
            return named
    return BACKOFF * 2.0 ** (failures - 1) * random.uniform(0.75, 1)


def retry_after(error: openai.APIStatusError) -> float | None:
    """The seconds that the endpoint asks to be left alone for: RFC 9110 § 10.2.3, or ``retry-after-ms``; None if it does not."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = str(error.response.headers.get(header, ""))
        try:
            seconds = float(said) * unit
        except ValueError:
            continue
        return None if math.isnan(seconds) else max(0.0, seconds)
    try:
        moment = email.utils.parsedate_to_datetime(str(error.response.headers.get("retry-after", "")))
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a time zone
        return None
