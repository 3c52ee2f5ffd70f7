"""Faust's consumer with a shorter way from a fetched record to the agent's queue.

`Consumer._drain_messages` makes four tasks for each message, so that a rebalance can interrupt a put into a full queue: most
of what Faust costs per event. Here a message is put directly where nothing can block, and Faust's way is taken where it can.
Everything else, as the order over topics, gaps in offsets, flow control and generations, is as in faust-streaming 0.15.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import CONSUMER_FETCHING
from faust.transport.drivers import aiokafka as driver

FULL_SECONDS: Final = 0.02
"""How soon to look again while the queues are full. Faust looks after a second, in which they run empty."""


class Consumer(driver.Consumer):  # type: ignore[misc]  # faust publishes no types
    """Drains what was fetched, a partition at a time."""

    _n_acked: int

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

    async def _deliver(self, records: Mapping[Any, Any], active: set[Any] | None) -> None:
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
                delivered += 1
                if delivered % 100 == 0:
                    await asyncio.sleep(0)
                await self._deliver_one(tp, record, channels)

    async def _deliver_one(self, tp: Any, record: Any, channels: Any) -> None:
        offset, read = record.offset, self._read_offset[tp]
        if read is not None and offset < read:
            return
        if read and offset - read > 1 and self.app.topics.acks_enabled_for(tp.topic):
            await self._add_gap(tp, read + 1, offset)
        if self._n_acked >= (self._commit_every or self._n_acked + 1):
            self._n_acked = 0
            await self.commit()
        message = self._to_message(tp, record)
        if self.app.flow_control.is_active() and not any(channel.queue.full() for channel in channels):
            await self.callback(message)
        else:
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
        self._read_offset[tp] = offset


class Transport(driver.Transport):  # type: ignore[misc]  # as above
    """The aiokafka transport with this module's consumer."""

    Consumer = Consumer
