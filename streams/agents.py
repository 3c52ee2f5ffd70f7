"""The agents: thin loops around plain functions. See `streams.app` for why they look like this."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Histogram

from schema.errors import TransientError
from schema.topics import Topic
from streams.records import Outcome, Record

log = logging.getLogger(__name__)
EVENTS = Counter("intentloop_stream_events", "events by agent and what became of them", ["agent", "outcome"])
DEAD_LETTERS = Counter("intentloop_dlq_messages", "dead letters by topic and reason", ["topic", "reason"])
RETRIES = Counter("intentloop_stream_retries", "batches tried again because something was away", ["agent"])
DURATION = Histogram("intentloop_stream_batch_seconds", "from a batch's arrival to its commit", ["agent"])

Work = Callable[[Sequence[Record]], Outcome]
"""Stores a batch in one transaction. Runs in a thread; raises only `TransientError`."""
Deliver = Callable[[Topic, Outcome], Awaitable[None]]
"""Sends what a batch refused and what it publishes; returns once the broker has all of it."""

GIVE_UP_EXIT_CODE = 70


@dataclass(frozen=True, slots=True)
class Sink:
    """One agent: what it reads, how it stores a batch, how many records a batch may have."""

    name: str
    topic: Topic
    work: Work
    batch: int


def add_sink(app: Any, sink: Sink, *, prefix: str, threads: Executor, deliver: Deliver, patience: float) -> None:
    """Register an agent that stores each batch, delivers what it publishes, and only then acks it.

    A raise in it ends the worker on purpose: nothing was acked, so nothing is lost, and the supervisor starts a new one.
    """
    topic = app.topic(sink.topic.name(prefix), value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")

    async def agent(stream: Any) -> None:
        # Inline on purpose: a generator held in a variable outlives its exception and hangs (faust #315).
        async for batch in stream.noack().noack_take(sink.batch, within=0.05):
            records = [Record.from_message(event.message, sink.name) for event in batch]
            began = time.monotonic()
            outcome = await until_done(app, sink, records, threads, deliver, patience)
            if outcome is None:
                return
            for event in batch:
                event.ack()
            DURATION.labels(sink.name).observe(time.monotonic() - began)
            for name, number in outcome.counts.items():
                EVENTS.labels(sink.name, name).inc(number)
            for refused in outcome.refused:
                DEAD_LETTERS.labels(sink.topic.stem, refused.error.reason).inc()

    app.agent(topic, name=sink.name, concurrency=1)(agent)


async def until_done(
    app: Any, sink: Sink, records: Sequence[Record], threads: Executor, deliver: Deliver, patience: float
) -> Outcome | None:
    """Store and deliver `records`, again and again while something is away; None where the worker is stopping.

    Raises:
        TransientError: it stayed away for `patience` seconds. The process then ends, by force if it must.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience
    pause = 0.05
    while not app.should_stop:
        try:
            outcome = await loop.run_in_executor(threads, sink.work, records)
            await deliver(sink.topic, outcome)
            return outcome
        except TransientError as error:
            RETRIES.labels(sink.name).inc()
            if loop.time() > give_up_at:
                log.critical("%s: gave up after %.0f s: %s", sink.name, patience, error)
                end_by_force_later()
                raise
            log.warning("%s: trying again: %s", sink.name, error)
        await asyncio.sleep(random.uniform(pause / 2, pause))
        pause = min(2.0, pause * 2)
    return None


def end_by_force_later(seconds: float = 30.0) -> None:
    """End the process in `seconds`, whatever Faust's shutdown waits for by then."""
    timer = threading.Timer(seconds, os._exit, (GIVE_UP_EXIT_CODE,))
    timer.daemon = True
    timer.start()
