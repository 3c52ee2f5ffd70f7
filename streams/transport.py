"""Faust's consumer, made exact over rebalances, and with a shorter way from a fetched record to the agent's queue.

What Faust 0.15.3 does at a rebalance loses records. It empties the agents' queues and goes back to the committed offsets; but

* a partition on which nothing was committed yet is not sought back: what had been queued is never read again;
* what a fetch brings back that had begun before the seek is taken for the new position, and the records before it for a gap
  in the log: they count as acknowledged.

So here the position of each partition is kept with the records that were put into a queue. Partitions without a commit are
sought to their beginning. A record that is not the next one is fetched once more, from where it should go on: only what is
missing then too is a gap (compaction and transaction markers leave some). And only what follows on the last committed offset
without one missing is committed, whatever else is acked.

`Consumer._drain_messages` makes four tasks for each message, so that a rebalance can interrupt a put into a full queue: most
of what Faust costs per event. Here a message is put directly where nothing can block, and Faust's way is taken where it can.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faust.transport.consumer import CONSUMER_FETCHING
from faust.transport.drivers import aiokafka as driver

FETCH_MILLISECONDS: Final = 20
FULL_SECONDS: Final = 0.02
"""How soon to look again while the queues are full. Faust looks after a second, in which they run empty."""


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust publishes no types
    """The thread that aiokafka runs in."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        """As Faust makes it, but for the 1.5 s that a fetch may wait at the broker.

        A fetch asks for the partitions of which nothing is buffered at that moment. While it waits for these, what arrives in
        all others waits with it.
        """
        made = super()._create_worker_consumer(transport)
        made._fetch_max_wait_ms = FETCH_MILLISECONDS
        return made


class Consumer(driver.Consumer):  # type: ignore[misc]  # faust publishes no types
    """Drains what was fetched, a partition at a time."""

    _n_acked: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[Any, int] = {}  # by partition, the offset that is to be put next
        self._from: dict[Any, int] = {}  # up to where all is acked, or was committed when the partition was sought
        self._gaps: defaultdict[Any, dict[int, int]] = defaultdict(dict)  # first offset that is not there to the next one
        self._asked_again: dict[Any, tuple[int, int]] = {}

    def _new_consumer_thread(self) -> Any:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Go to the committed offset of each partition, or to its beginning."""
        places = {tp: offset or 0 for tp, offset in (await self.seek_to_committed()).items()}
        fresh = [tp for tp, offset in places.items() if offset <= 0]
        if fresh:
            beginnings = await self.earliest_offsets(*fresh)
            await self.seek_wait(beginnings)
            places.update(beginnings)
        self._committed_offset.update(places)
        self._next.update(places)
        self._from.update(places)
        for tp in places:
            self._gaps.pop(tp, None)
            self._asked_again.pop(tp, None)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Forget where they stood."""
        for tp in revoked:
            self._next.pop(tp, None)
            self._from.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _new_offset(self, tp: Any) -> int | None:
        """The offset to commit: the first one that is neither acked nor missing in the log."""
        if tp not in self._from:
            return None
        acked, gaps, end = self._acked_index[tp], self._gaps[tp], self._from[tp]
        while end in acked or end in gaps:
            end = gaps.pop(end) if end in gaps else end + 1
        acked.difference_update([offset for offset in acked if offset < end])
        self._acked[tp] = list(acked)
        self._from[tp] = end
        return end

    async def _drain_messages(self, fetcher: Any) -> None:
        """Put fetched records into the agents' queues until either side stops."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                self.diag.set_flag(CONSUMER_FETCHING)
                if not self._get_active_partitions():
                    await asyncio.sleep(FULL_SECONDS)  # every buffer is full, or nothing is assigned
                    continue
                records, active = await self._wait_next_records(timeout=1.0)
                await asyncio.sleep(0)
                if records and not self.should_stop:
                    await self._deliver(records, active)
        except asyncio.CancelledError:
            # Asked to stop, for a rebalance: to return is enough. Faust's fetcher takes a cancellation for a crash then, and
            # its crash of itself, which no supervisor watches, for the end of the app.
            if not (fetcher.should_stop or self.app.should_stop):
                raise
        except ConsumerStoppedError:
            if not self.app.should_stop:
                raise
        finally:
            self.diag.unset_flag(CONSUMER_FETCHING)

    async def _deliver(self, records: Mapping[Any, Sequence[Any]], active: set[Any] | None) -> None:
        generation = self.app.consumer_generation_id
        delivered = 0
        for tp, fetched in records.items():
            if not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            channels = self.app.topics._tp_index[tp]
            for record in fetched:
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                expected = self._next.get(tp)
                if expected is None or record.offset < expected:
                    continue  # not sought yet, or put before
                if record.offset > expected and not await self._is_gap(tp, expected, record.offset):
                    break
                delivered += 1
                if delivered % 100 == 0:
                    await asyncio.sleep(0)
                if not await self._put(tp, record, channels):
                    return

    async def _is_gap(self, tp: Any, expected: int, found: int) -> bool:
        """Whether the log has nothing from `expected` to `found`; where that is not known, fetch again from `expected`."""
        if self._asked_again.get(tp) == (expected, found):
            self._gaps[tp][expected] = found
            self._next[tp] = found
            return True
        self._asked_again[tp] = (expected, found)
        self.log.info("%s-%s: offset %d came, %d was next: fetching again", tp.topic, tp.partition, found, expected)
        with suppress(IllegalStateError, TimeoutError):  # taken away meanwhile, or the broker is away: it is asked again
            await self.seek_wait({tp: expected})
        return False

    async def _put(self, tp: Any, record: Any, channels: Any) -> bool:
        """Put a record into its queue; returns False where a rebalance came first."""
        if self._n_acked >= (self._commit_every or self._n_acked + 1):
            self._n_acked = 0
            await self.commit()
        message = self._to_message(tp, record)
        if self.app.flow_control.is_active() and not any(channel.queue.full() for channel in channels):
            await self.callback(message)
        else:
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
            if not self.flow_active:
                return False
        if self._next.get(tp) == record.offset:  # else it was sought meanwhile
            self._next[tp] = record.offset + 1
        return True


class Transport(driver.Transport):  # type: ignore[misc]  # as above
    """The aiokafka transport with this module's consumer."""

    Consumer = Consumer
