"""The child process of a streams worker that decodes, masks and stores the questions; `streams.start` starts it.

Faust's event loop and this work would share one interpreter lock; here they run on two cores. Batches come over a socket and
are stored in the order they came. While one is in the database, a thread prepares the next. The child retries what may pass,
and gives up after the worker's patience. It lives by the socket: when its other end is closed, however that happened, it
ends at once; what it had not committed is rolled back, and delivered again by Kafka.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import queue
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Link

from sqlalchemy import Engine

from schema.database import RowRefused, in_transaction, open_engine
from schema.envelope import Headers, decode
from schema.errors import EventError, TransientError
from schema.events import QuestionAsked
from schema.logs import set_up_logs
from schema.settings import Settings, load_settings
from schema.tables import utc_now
from streams.pairs import Pair
from streams.questions import Row, Stored, prepare, store_questions

log = logging.getLogger(__name__)
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
MISTAKES = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
SWITCH_SECONDS = 0.0002
"""How long decoding may keep the interpreter while an answer of the database waits: by default 5 ms for each answer."""

Raw = tuple[bytes | None, Headers]
"""A record's value and headers."""
Refusal = tuple[int, str, str, bool]
"""Which record of the batch was refused, the reason, the message, and whether it was the database that refused it."""


@dataclass(slots=True)
class Reply:
    """What became of a batch.

    Attributes:
        gave_up: why the batch is not stored; empty where it is.
        retries: how often it was tried again.
        pairs: each keyword with each intent in it, stored now or before.
    """

    stored: int = 0
    duplicates: int = 0
    retries: int = 0
    refused: list[Refusal] = field(default_factory=list)
    pairs: set[Pair] = field(default_factory=set)
    gave_up: str = ""


@dataclass(slots=True)
class Prepared:
    """A batch that is decoded: rows with their index in it, and what was refused already."""

    rows: list[tuple[int, Row]]
    refused: list[Refusal]


def prepare_batch(records: Sequence[Raw], *, key: str, default_consent: bool) -> Prepared:
    """Decode and mask `records`."""
    prepared = Prepared([], [])
    now = utc_now()
    for index, (value, headers) in enumerate(records):
        try:
            row = prepare(decode(QuestionAsked, value, headers), key=key, default_consent=default_consent, now=now)
            prepared.rows.append((index, row))
        except EventError as error:
            prepared.refused.append((index, error.reason, str(error), False))
        except MISTAKES as error:
            # Ours, not the record's; but raised again it would end every worker that meets the record.
            log.exception("record %d of a batch cannot be prepared", index)
            prepared.refused.append((index, "failed", f"it cannot be processed: {type(error).__name__}", False))
    return prepared


def store_batch(engine: Engine, batch: Prepared) -> Reply:
    """Store a prepared batch in one transaction; where the database refuses a row, halve until it is found.

    Raises:
        TransientError: the database is away. Halves that were stored are stored again without effect.
    """
    reply = Reply(refused=list(batch.refused))
    waiting = [batch.rows] if batch.rows else []
    while waiting:
        rows = waiting.pop()
        try:
            done: Stored = in_transaction(engine, partial(store_questions, batch=[row for _, row in rows]))
        except RowRefused as error:
            if len(rows) == 1:
                reply.refused.append((rows[0][0], error.reason, str(error), True))
            else:
                middle = len(rows) // 2
                waiting += [rows[middle:], rows[:middle]]
            continue
        reply.stored += done.new
        reply.duplicates += done.duplicates
        reply.pairs.update(pair for _, row in rows for pair in row.pairs)
    return reply


def store_with_patience(engine: Engine, batch: Prepared, patience: float) -> Reply:
    """`store_batch`, again and again while the database is away; a reply that gave up after `patience` seconds."""
    give_up_at = time.monotonic() + patience
    pause, retries = FIRST_PAUSE, 0
    while True:
        try:
            reply = store_batch(engine, batch)
            reply.retries = retries
            return reply
        except TransientError as error:
            if time.monotonic() > give_up_at:
                return Reply(retries=retries, gave_up=f"gave up after {patience:.0f} s: {error}")
            log.warning("trying again: %s", error)
        retries += 1
        time.sleep(random.uniform(pause / 2, pause))  # another server's state: nothing to await
        pause = min(LONGEST_PAUSE, pause * 2)


def serve(link: Link, settings: Settings) -> None:
    """Answer batches until the worker closes its end, or until one is given up: what came later is not stored before it."""
    # Decoding makes tens of thousands of objects a batch, none in a cycle: looking for cycles cost a quarter of its time.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = open_engine(settings.database_url.get_secret_value(), pool_size=1)
    ready: queue.Queue[Prepared] = queue.Queue(maxsize=1)
    threading.Thread(target=_end_with, args=(link,), daemon=True, name="end").start()
    threading.Thread(target=_read, args=(link, settings, ready), daemon=True, name="prepare").start()
    while True:
        reply = store_with_patience(engine, ready.get(), settings.database_patience)
        link.send_bytes(pickle.dumps(reply, pickle.HIGHEST_PROTOCOL))
        if reply.gave_up:
            return


def _end_with(link: Link) -> None:
    """End the process when the worker's end of `link` is closed, whatever the other threads wait for: it commits nothing more."""
    closed = select.poll()
    closed.register(link.fileno(), select.POLLRDHUP)
    closed.poll()
    os._exit(0)


def _read(link: Link, settings: Settings, ready: queue.Queue[Prepared]) -> None:
    key = settings.pseudonym_key.get_secret_value()
    try:
        while True:
            records: list[Raw] = pickle.loads(link.recv_bytes())  # from our own parent alone
            ready.put(prepare_batch(records, key=key, default_consent=settings.default_consent))
    except (EOFError, OSError):
        return  # the worker is gone: see `_end_with`
    except BaseException:
        log.exception("the batch cannot be prepared")
        os._exit(1)


def main() -> None:
    """The child's command line: the number of the socket's file descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides when this ends
    settings = load_settings(os.environ)
    set_up_logs("streams-writer", settings.log_level)
    try:
        serve(Link(int(sys.argv[1])), settings)
    except BrokenPipeError:
        return  # the worker is gone
