"""What comes later is never stored before what came earlier and could not be stored."""

from __future__ import annotations

import pytest

from schema.topics import QUESTION_ASKED
from tests.faults.harness import EVENTS, Bed
from tests.faults.points import HISTORY, RefuseText

pytestmark = pytest.mark.long
DEADLOCK = 1213


def test_a_relabel_waits_for_a_label_that_is_given_up(bed: Bed) -> None:
    """The worker gives the first label up and ends; the next one applies both, in the order in which people gave them."""
    first = bed.worker(database_patience=2.0)
    bed.load.send(EVENTS)
    bed.acknowledged(topics=[QUESTION_ASKED])
    question = bed.last_question()
    refused = first.proxy.plan(RefuseText(DEADLOCK, "INSERT", HISTORY, "stubborn"))
    bed.labeler.label(question, ["wealth"], by="stubborn")
    bed.reached(refused.reached, "the first label is refused")
    for intent in ("career", "health"):
        bed.labeler.label(question, [intent], by="ann")
    assert bed.ends_by_itself(first, 30) != 0
    bed.worker()
    bed.verify()
