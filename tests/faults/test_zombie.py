"""A worker that stood still for longer than the broker waits, and wakes up believing that its partitions are its own."""

from __future__ import annotations

import pytest

from tests.faults.harness import EVENTS, Bed
from tests.faults.points import Fault, HoldAnswer, HoldCommit

pytestmark = pytest.mark.long


@pytest.mark.parametrize("point", [HoldCommit, HoldAnswer])
def test_a_zombie_writes_nothing_twice(bed: Bed, point: type[Fault]) -> None:
    """SIGSTOP just before COMMIT, and between COMMIT and ack; another worker takes over; SIGCONT."""
    zombie = bed.worker(stream_batch=500)
    held = zombie.proxy.plan(point(after=5))  # type: ignore[call-arg]
    bed.load.send(EVENTS // 2)
    bed.reached(held.reached, "the zombie is in the middle of a transaction")
    zombie.freeze()
    other = bed.worker(stream_batch=500)
    bed.until(other.is_ready, "the other has taken over the partitions", 60)
    if point is HoldAnswer:  # before COMMIT the zombie's locks hold the other up, as they must
        bed.until(lambda: bed.newest() > other.spawned_at, "the other works")
    held.release()
    zombie.thaw()
    bed.load.send(EVENTS // 2)
    bed.restarts = True  # a zombie may also notice that it is one, and end
    bed.until(lambda: bed.newest() > other.spawned_at, "the other works")
    bed.verify()


def test_a_worker_frozen_anywhere_is_taken_over_and_comes_back(bed: Bed) -> None:
    zombie = bed.worker(stream_batch=500)
    bed.load.start(1200)
    bed.until(lambda: bed.stored() > 3000, "events flow")
    zombie.freeze()
    other = bed.worker(stream_batch=500)
    bed.flows_since(other.spawned_at, 60)
    zombie.thaw()
    bed.restarts = True
    bed.until(lambda: all(worker.is_ready() for worker in bed.workers), "both work", 60)
    bed.verify()
