"""What a change of rows adds to the rollups, and which snapshots are kept."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from streams.rollups import of_label, of_questions, of_withdrawal
from streams.snapshots import EVERY, HOURLY_KEPT, expendable

NOON = datetime(2026, 3, 1, 12)
STORED = {
    "training_status": "pending",
    "consent_training": True,
    "consent_stated": True,
    "model_version": "v0",
    "method": "local_model",
    "response_time_ms": 7,
}


def nonzero(changes: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    return {key: n for key, n in changes.items() if n}


def test_new_questions_add_to_the_queue_and_to_the_version_that_answered() -> None:
    rows = [STORED, STORED | {"method": "llm_fallback", "response_time_ms": 300}, STORED | {"model_version": "v1 "}]
    assert nonzero(of_questions(rows)) == {
        ("questions", "total"): 3,
        ("questions", "waiting"): 3,
        ("answered", "v0"): 2,
        ("answered", "v1"): 1,
        ("llm_calls", "v0"): 1,
        ("timed", "v0"): 2,
        ("timed", "v1"): 1,
        ("milliseconds", "v0"): 307,
        ("milliseconds", "v1"): 7,
    }


def test_a_question_without_consent_or_answer_is_skipped_and_belongs_to_no_version() -> None:
    nothing = {"model_version": None, "method": None, "response_time_ms": None}
    row = STORED | nothing | {"training_status": "skipped", "consent_training": False, "consent_stated": False}
    assert nonzero(of_questions([row])) == {
        ("questions", "total"): 1,
        ("questions", "skipped"): 1,
        ("questions", "unstated"): 1,
    }


def asked(**changes: Any) -> Any:
    row = {"intents": ["wealth", "career"], "is_labeled": False, "training_status": "pending", "model_version": "v0"}
    return SimpleNamespace(**row | {"correct_intent": None, "method": "local_model"} | changes)


def test_a_first_label_leaves_the_queue_and_judges_the_version() -> None:
    assert nonzero(of_label(asked(), ["career", "wealth"])) == {
        ("questions", "labeled"): 1,
        ("questions", "waiting"): -1,
        ("labels", "career"): 1,
        ("labels", "wealth"): 1,
        ("labeled", "v0"): 1,
        ("correct", "v0"): 1,
        ("judged_by", "local_model"): 1,
        ("right_by", "local_model"): 1,
    }


def test_a_relabel_takes_the_earlier_label_and_judgement_back() -> None:
    before = asked(is_labeled=True, correct_intent=["wealth", "career"], training_status="used")
    assert nonzero(of_label(before, ["wealth", "health"])) == {
        ("labels", "career"): -1,
        ("labels", "health"): 1,
        ("correct", "v0"): -1,
        ("right_by", "local_model"): -1,
    }
    assert nonzero(of_label(before, ["career", "wealth"])) == {}, "the same label again changes nothing"


def test_a_withdrawal_skips_what_was_not_used() -> None:
    assert nonzero(of_withdrawal(waiting=2, skipped=3)) == {("questions", "waiting"): -2, ("questions", "skipped"): 3}
    assert nonzero(of_withdrawal(waiting=0, skipped=0)) == {}


def test_snapshots_are_kept_for_three_hours_then_hourly_for_eight_days() -> None:
    """Taken and thinned for ten days: what is left at the end."""
    kept: list[datetime] = []
    for number in range(10 * 24 * 6 + 1):
        now = NOON + number * EVERY + timedelta(seconds=number % 50)
        kept.append(now)
        dropped = expendable(kept, now)
        kept = [moment for moment in kept if moment not in dropped]
    young = [moment for moment in kept if moment > now - timedelta(hours=3)]
    old = [moment for moment in kept if moment not in young]
    assert len(young) == 18
    assert len({(moment.date(), moment.hour) for moment in old}) == len(old) == 8 * 24 - 3 + 1
    assert max(moment.minute for moment in old) < 10, "the first of its hour"
    assert now - HOURLY_KEPT - timedelta(hours=1) < min(old) <= now - HOURLY_KEPT


def test_after_a_long_pause_the_last_snapshot_before_it_is_kept() -> None:
    """Nothing was counted in the pause, so a week can still be counted from it."""
    before = [NOON - timedelta(days=30), NOON - timedelta(days=20)]
    assert expendable([*before, NOON], NOON) == [before[0]]
    assert expendable([], NOON) == []
