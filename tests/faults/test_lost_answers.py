"""What a database says, or fails to say, about a transaction: resets, deadlocks, lock waits, slowness."""

from __future__ import annotations

import pytest

from tests.faults.harness import EVENTS, Bed
from tests.faults.points import COUNTS, HISTORY, QUESTIONS, RULES, Delay, Refuse, ResetAfterCommit

pytestmark = pytest.mark.long

DEADLOCK, LOCK_WAIT = 1213, 1205


def test_a_connection_reset_after_commit_was_sent_counts_nothing_twice(bed: Bed) -> None:
    """Error 2013: the outcome is unknown to the worker; it repeats, and the event ids tell."""
    worker = bed.worker(stream_batch=500)
    resets = [
        worker.proxy.plan(ResetAfterCommit(after=3, times=2)),
        worker.proxy.plan(ResetAfterCommit(after=12, times=6)),
        worker.proxy.plan(ResetAfterCommit(HISTORY, after=2, times=3)),
    ]
    bed.load.send(EVENTS)
    for reset in resets:
        bed.reached(reset.reached, "a connection was reset after its COMMIT")
    bed.verify()


@pytest.mark.parametrize("number", [DEADLOCK, LOCK_WAIT])
def test_deadlocks_and_lock_timeouts_repeat_the_whole_transaction(bed: Bed, number: int) -> None:
    """At every statement of it, and oftener in a row than one transaction is repeated at once."""
    worker = bed.worker(stream_batch=500)
    faults = [
        worker.proxy.plan(Refuse(number, "INSERT", QUESTIONS, times=2)),
        worker.proxy.plan(Refuse(number, "INSERT", QUESTIONS, after=6, times=12)),
        worker.proxy.plan(Refuse(number, "INSERT", COUNTS, after=8, times=3)),
        worker.proxy.plan(Refuse(number, "UPDATE", RULES, after=10, times=3)),
        worker.proxy.plan(Refuse(number, "INSERT", HISTORY, after=3, times=7)),
        worker.proxy.plan(Refuse(number, "COMMIT", HISTORY, after=2, times=3)),
    ]
    if number == DEADLOCK:  # a COMMIT never waits for a lock
        faults.append(worker.proxy.plan(Refuse(number, "COMMIT", QUESTIONS, after=10, times=3)))
    bed.load.send(EVENTS)
    bed.verify()
    assert [fault for fault in faults if not fault.struck] == [], "each fault was met"


def test_a_slow_database_delays_and_loses_nothing(bed: Bed) -> None:
    worker = bed.worker(stream_batch=2000)
    slow = worker.proxy.plan(Delay(0.5, "COMMIT", QUESTIONS, times=10**9))
    bed.load.send(EVENTS)
    bed.verify()
    assert slow.reached.is_set()
