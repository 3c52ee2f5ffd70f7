"""The agents: thin loops around plain functions. See `streams.app` for why they look like this."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from prometheus_client import Counter, Histogram

from schema.errors import TransientError
from schema.topics import Topic
from streams.lanes import Lane, Publish, Store
from streams.records import Outcome, Record

log = logging.getLogger(__name__)
T = TypeVar("T")
EVENTS = Counter("intentloop_stream_events", "events by agent and what became of them", ["agent", "outcome"])
DEAD_LETTERS = Counter("intentloop_dlq_messages", "dead letters by topic and reason", ["topic", "reason"])
RETRIES = Counter("intentloop_stream_retries", "batches tried again because something was away", ["agent"])
DURATION = Histogram("intentloop_stream_batch_seconds", "from a batch's arrival to its ack", ["agent"])
SIZE = Histogram("intentloop_stream_batch_events", "events in a batch", ["agent"], buckets=(1, 3, 10, 30, 100, 300, 1000, 3000))

Work = Callable[[Sequence[Record]], Outcome]
"""Stores a batch in one transaction. Runs in a thread; raises only `TransientError`."""

GIVE_UP_EXIT_CODE = 70
FORCE_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Sink:
    """One agent: what it reads, how it stores a batch, how many records a batch may have, how many are stored at once."""

    name: str
    topic: Topic
    store: Store
    batch: int
    depth: int = 1


def add_sink(app: Any, sink: Sink, *, prefix: str, publish: Callable[[Topic, Sequence[Outcome]], Any]) -> Lane:
    """Register an agent that stores each batch, publishes what came of it, and only then acks it; returns its lane.

    A raise in it ends the worker on purpose: nothing was acked, so nothing is lost, and the supervisor starts a new one.
    """
    topic = app.topic(sink.topic.name(prefix), value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
    send: Publish = partial(publish, sink.topic)
    lane = Lane(sink.store, send, partial(_settled, sink), depth=sink.depth)

    async def agent(stream: Any) -> None:
        # The channel below the stream: a stream's iterator costs more per event than all else here, and acks by itself.
        channel = aiter(stream.channel)
        try:
            async with asyncio.TaskGroup() as tasks:
                settling = tasks.create_task(lane.settle())
                while await lane.room():
                    events = await _read(app, channel, sink.batch)
                    if not events:
                        break
                    await lane.take(events, [_taken(event, sink.name) for event in events])
                await lane.drain()
                settling.cancel()
        except ExceptionGroup as failed:
            log.critical("%s: %s", sink.name, failed.exceptions[0])
            end_by_force_later()
            raise failed.exceptions[0] from None

    app.agent(topic, name=sink.name, concurrency=1)(agent)
    return lane


async def _read(app: Any, channel: Any, size: int) -> list[Any]:
    """What has arrived, in order, at most `size` events; waits for the first, and returns none when Faust stops.

    Under load batches grow by themselves. Events of before a rebalance are passed over without an ack, as Faust's own
    iterator does.
    """
    while True:
        try:
            events = [await channel.queue.get()]
        except StopAsyncIteration:  # so Faust tells an agent that it is stopped
            return []
        while len(events) < size and not channel.queue.empty():
            events.append(channel.queue.get_nowait())
        current = [event for event in events if event.message.generation_id == app.consumer_generation_id]
        if current:
            current.sort(key=_place)
            return current


def _taken(event: Any, consumer: str) -> Record:
    """The event's record. The event itself is kept until it is acked, without what it brought: that is most of its size."""
    record = Record.from_message(event.message, consumer)
    event.value = event.message.value = None
    return record


def _place(event: Any) -> tuple[int, int]:
    """By partition, then offset: the order of each user's events is kept, and two workers that hold the same records, one of
    them a zombie, write them in the same order, so that they do not deadlock."""
    return event.message.partition, event.message.offset


def _settled(sink: Sink, events: Sequence[Any], outcome: Outcome, began: float) -> None:
    """Ack a batch and count it."""
    for event in events:
        event.ack()
    DURATION.labels(sink.name).observe(time.monotonic() - began)
    SIZE.labels(sink.name).observe(len(events))
    RETRIES.labels(sink.name).inc(outcome.retries)
    for name, number in outcome.counts.items():
        EVENTS.labels(sink.name, name).inc(number)
    for refused in outcome.refused:
        DEAD_LETTERS.labels(sink.topic.stem, refused.error.reason).inc()


def with_patience(work: Work, threads: Executor, patience: float) -> Store:
    """`work` in a thread, again and again while something is away: see `patiently`."""

    async def store(records: Sequence[Record]) -> Outcome:
        outcome, retries = await patiently(partial(work, records), threads, patience)
        outcome.retries = retries
        return outcome

    return store


async def patiently(work: Callable[[], T], threads: Executor, patience: float) -> tuple[T, int]:
    """Do `work` in a thread until it works; returns what it returned, and how often it was tried again.

    Raises:
        TransientError: it did not work for `patience` seconds.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience
    pause, retries = 0.05, 0
    while True:
        try:
            return await loop.run_in_executor(threads, work), retries
        except TransientError as error:
            if loop.time() > give_up_at:
                raise TransientError(f"gave up after {patience:.0f} s: {error}") from error
            log.warning("trying again: %s", error)
        retries += 1
        await asyncio.sleep(random.uniform(pause / 2, pause))
        pause = min(2.0, pause * 2)


def end_by_force_later(code: int = GIVE_UP_EXIT_CODE, seconds: float = FORCE_SECONDS) -> None:
    """End the process in `seconds`, whatever Faust's shutdown or a silent server keep it waiting for by then."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
