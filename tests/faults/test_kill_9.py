"""kill -9 at the two points of a transaction where it hurts."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.harness import EVENTS, Bed
from tests.faults.points import HISTORY, HoldAnswer, HoldCommit
from tests.faults.worker import family

pytestmark = pytest.mark.long

SMALL = 500
"""Events per batch: enough batches that one can be chosen in the middle."""


def test_kill_9_between_rows_and_commit_loses_nothing(bed: Bed) -> None:
    """The rows of the killed transaction are gone with it, and are stored once by the next worker."""
    first = bed.worker(stream_batch=SMALL)
    held = first.proxy.plan(HoldCommit(after=5))
    bed.load.send(EVENTS)
    bed.reached(held.reached, "the sixth batch stands before its COMMIT")
    before = bed.stored()
    bed.kill_9(first)
    assert bed.stored() == before, "what was not committed is not there"
    assert 0 < before < EVENTS
    bed.worker(stream_batch=SMALL)
    bed.verify()


def test_kill_9_between_commit_and_ack_counts_nothing_twice(bed: Bed) -> None:
    """The batch is delivered again, its event ids are known, and its counts still reach the live view."""
    first = bed.worker(stream_batch=SMALL)
    held = first.proxy.plan(HoldAnswer(after=5))
    bed.load.send(EVENTS)
    bed.reached(held.reached, "the sixth batch is committed, and the worker does not know it")
    before = bed.stored()
    bed.kill_9(first)
    assert bed.stored() == before, "what was committed stays"
    assert 0 < before < EVENTS
    bed.worker(stream_batch=SMALL)
    bed.verify()


def test_kill_9_of_the_very_last_batch_still_reaches_the_live_view(bed: Bed) -> None:
    """Nothing comes after it that could publish the totals that died with the worker."""
    first = bed.worker(stream_batch=SMALL)
    bed.load.send(EVENTS)
    bed.acknowledged()
    held = first.proxy.plan(HoldAnswer())
    bed.load.send(SMALL // 5)
    bed.reached(held.reached, "the last batch is committed, and the worker does not know it")
    bed.kill_9(first)
    bed.worker(stream_batch=SMALL)
    bed.verify()


def test_kill_9_between_a_label_and_its_ack_applies_it_once(bed: Bed) -> None:
    """Labels, rule success and ``label.applied`` are one transaction, and its event id is in it."""
    first = bed.worker(stream_batch=SMALL)
    held = first.proxy.plan(HoldAnswer(HISTORY, after=3))
    bed.load.send(EVENTS)
    bed.reached(held.reached, "a label is committed, and the worker does not know it")
    bed.kill_9(first)
    second = bed.worker(stream_batch=SMALL)
    before = second.proxy.plan(HoldCommit(HISTORY, after=3))
    bed.reached(before.reached, "a label stands before its COMMIT")
    bed.kill_9(second)
    bed.worker(stream_batch=SMALL)
    bed.verify()


def test_kill_9_of_a_worker_s_main_process_ends_its_others_before_they_commit(bed: Bed) -> None:
    """Else a process that nobody knows of would hold its rows' locks against the next worker."""
    first = bed.worker(stream_batch=SMALL)
    held = first.proxy.plan(HoldCommit(after=5))
    bed.load.send(EVENTS)
    bed.reached(held.reached, "the sixth batch stands before its COMMIT")
    before = bed.stored()
    bed.kill_9(first, alone=True)
    assert bed.stored() == before, "what was not committed is not there"
    bed.worker(stream_batch=SMALL)
    bed.verify()


def test_kill_9_of_a_worker_s_own_child_ends_the_worker_and_loses_nothing(bed: Bed) -> None:
    """Whatever processes a worker consists of: where one is gone, all go, and a supervisor starts anew."""
    first = bed.worker(stream_batch=SMALL)
    bed.load.send(EVENTS)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    children = family(first.child.pid)[1:]
    if children:
        os.kill(children[-1], signal.SIGKILL)
        assert bed.ends_by_itself(first, 30) != 0
        bed.worker(stream_batch=SMALL)
    bed.verify()
