"""Partitions move between workers while events flow."""

from __future__ import annotations

import pytest

from tests.faults.harness import EVENTS, Bed

pytestmark = pytest.mark.long

RATE = 1500


def test_workers_1_to_3_to_1_under_load_lose_and_repeat_nothing(bed: Bed) -> None:
    first = bed.worker(stream_batch=200)
    bed.load.start(RATE)
    bed.until(lambda: bed.stored() > 1000, "the first worker stores")
    second, third = bed.worker(stream_batch=200), bed.worker(stream_batch=200)
    for worker in (second, third):
        bed.until(worker.is_ready, "the new worker has its partitions", 60)
    now = bed.stored()
    bed.until(lambda: bed.stored() > now + RATE, "three workers store")
    assert bed.terminate(first) == 0, first.tail()
    assert bed.terminate(third) == 0, third.tail()
    now = bed.stored()
    bed.until(lambda: bed.stored() > now + RATE, "the one that is left stores")
    bed.verify()


def test_a_worker_killed_among_three_is_replaced_by_the_others(bed: Bed) -> None:
    workers = [bed.worker(stream_batch=200) for _ in range(3)]
    for worker in workers:
        bed.until(worker.is_ready, "a worker has its partitions", 60)
    bed.load.send(EVENTS)
    bed.until(lambda: bed.stored() > 1000, "three workers store")
    bed.kill_9(workers[1])
    bed.verify()
