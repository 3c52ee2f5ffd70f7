"""The worker's side of its writer: hands it batches, and turns its replies into outcomes."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from schema.database import RowRefused
from schema.errors import EventError, TransientError
from streams.records import Outcome, Record, Refused
from streams.start import WriterProcess
from streams.writer import Raw, Reply


class WriterLink:
    """One writer child. Batches are answered in the order in which `store` was called."""

    def __init__(self, process: WriterProcess) -> None:
        self._child = process.child
        self._link = process.link
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="to-writer")
        self._waiting: deque[tuple[asyncio.Future[Outcome], Sequence[Record]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = ""

    async def store(self, records: Sequence[Record]) -> Outcome:
        """Store `records`; returns when they are committed.

        Raises:
            TransientError: the database stayed away for the worker's patience, or the child is gone.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._receive, args=(self._loop,), daemon=True, name="from-writer").start()
        if self._ended:
            raise TransientError(self._ended)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append((future, records))
        raw: list[Raw] = [(record.value, record.headers) for record in records]
        self._loop.run_in_executor(self._sender, self._send, raw)
        return await future

    def _send(self, raw: list[Raw]) -> None:
        try:
            self._link.send_bytes(pickle.dumps(raw, pickle.HIGHEST_PROTOCOL))
        except OSError:
            return  # the child is gone: `_receive` finds the same, and tells everyone who waits

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while True:
                reply: Reply = pickle.loads(self._link.recv_bytes())  # from our own child alone
                loop.call_soon_threadsafe(self._settle, reply)
        except (EOFError, OSError):
            return  # the child is gone, or `close` was called
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._end)

    def _settle(self, reply: Reply) -> None:
        if not self._waiting:
            return  # `close` was called
        future, records = self._waiting.popleft()
        if future.cancelled():
            return
        if reply.gave_up:
            future.set_exception(TransientError(reply.gave_up))
        else:
            future.set_result(outcome(reply, records))

    def _end(self) -> None:
        self._ended = "the writer process ended"
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(TransientError(self._ended))

    def close(self) -> None:
        """End the child; what it has not committed is rolled back, and nobody waits for it any more."""
        self._ended = "the worker is ending"
        while self._waiting:
            self._waiting.popleft()[0].cancel()
        self._child.kill()
        self._child.wait()
        self._link.close()
        self._sender.shutdown(wait=False)


def outcome(reply: Reply, records: Sequence[Record]) -> Outcome:
    """`reply` as the agents see it: refusals with their records, totals to publish."""
    refused = [
        Refused(records[index], (RowRefused if by_database else EventError)(reason, message))
        for index, reason, message, by_database in reply.refused
    ]
    counts = {"stored": reply.stored, "duplicate": reply.duplicates, "dead_lettered": len(refused)}
    return Outcome(counts, refused, reply.pairs, reply.retries)
