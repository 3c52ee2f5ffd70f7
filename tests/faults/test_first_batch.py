"""A consumer group without offsets: the place where Faust's own bookkeeping loses what failed (reliability § 1.2)."""

from __future__ import annotations

from schema.topics import QUESTION_ASKED
from tests.faults.harness import EVENTS, Bed
from tests.faults.points import QUESTIONS, HoldCommit, Refuse

READ_ONLY = 1290


def test_a_first_batch_that_fails_for_good_is_not_skipped(bed: Bed) -> None:
    """The worker gives up, commits no offset, and the next one begins at the first event."""
    bed.load.send(EVENTS)
    first = bed.worker(database_patience=2.0, stream_batch=500)
    refused = first.proxy.plan(Refuse(READ_ONLY, "INSERT", QUESTIONS, times=10**9))
    assert bed.ends_by_itself(first, 60) != 0
    assert refused.struck > 1, "the batch was tried again before the worker gave up"
    assert bed.stored() == 0
    assert bed.group.committed([QUESTION_ASKED]) == {}, "nothing is acknowledged that is not stored"
    bed.worker(stream_batch=500)
    bed.verify()


def test_a_first_batch_killed_before_its_commit_is_not_skipped(bed: Bed) -> None:
    bed.load.send(EVENTS)
    first = bed.worker(stream_batch=500)
    held = first.proxy.plan(HoldCommit())
    bed.reached(held.reached, "the first batch stands before its COMMIT")
    bed.kill_9(first)
    assert bed.stored() == 0
    assert bed.group.committed([QUESTION_ASKED]) == {}, "nothing is acknowledged that is not stored"
    bed.worker(stream_batch=500)
    bed.verify()


def test_what_was_read_before_a_rebalance_and_never_acknowledged_is_read_again(bed: Bed) -> None:
    """Two workers join while the first one's first batch is not committed: no partition has an offset to go back to."""
    bed.load.send(EVENTS)
    first = bed.worker(stream_batch=500)
    held = first.proxy.plan(HoldCommit())
    bed.reached(held.reached, "the first batch stands before its COMMIT")
    others = [bed.worker(stream_batch=500) for _ in range(2)]
    for other in others:
        bed.until(other.is_ready, "the new worker has its partitions", 60)
    held.release()
    bed.restarts = True  # the first one may have waited too long by now
    bed.verify()
