"""The whole topic again."""

from __future__ import annotations

from tests.faults.harness import EVENTS, Bed


def test_the_whole_topic_replayed_twice_changes_nothing(bed: Bed) -> None:
    """0 new rows, the same counts, labels and rule figures, and dead letters of the same origins."""
    first = bed.worker()
    bed.load.send(EVENTS)
    bed.verify()
    before = bed.stored()
    worker = first
    for _ in range(2):
        assert bed.terminate(worker) == 0, worker.tail()
        bed.until(bed.group.rewind, "the group is set back to the beginning")
        worker = bed.worker()
        bed.verify()
        assert bed.stored() == before
        assert bed.check.figures["dead letters of question.asked written again"] > 0, "it was read again"
