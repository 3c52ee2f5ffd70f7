"""The policy that starts a training: enough questions, and enough examples of every intent that would be trained."""

from __future__ import annotations

from collections import Counter

import pytest

from consumers.trigger import Fire, Wait, decide

ENOUGH = Counter(career=5, wealth=9)


def verdict(waiting: int = 100, intents: tuple[str, ...] = ("career", "wealth"), examples: Counter[str] = ENOUGH) -> Fire | Wait:
    return decide(waiting, set(intents), examples, threshold=100, floor=5)


@pytest.mark.parametrize("waiting", [100, 101, 5_000])
def test_a_training_starts_at_the_threshold(waiting: int) -> None:
    assert verdict(waiting) == Fire()


@pytest.mark.parametrize(("waiting", "missing"), [(99, 1), (0, 100)])
def test_below_the_threshold_it_tells_how_many_are_missing(waiting: int, missing: int) -> None:
    assert verdict(waiting) == Wait(missing=missing, below_floor={})


def test_an_intent_below_the_floor_holds_the_training_back() -> None:
    assert verdict(examples=Counter(career=4, wealth=9)) == Wait(missing=0, below_floor={"career": 1})
    assert verdict(200, examples=Counter(wealth=9)) == Wait(missing=0, below_floor={"career": 5})


def test_both_lacks_are_told_in_a_fixed_order() -> None:
    told = verdict(60, ("wealth", "nayin", "career"), Counter(wealth=1))
    assert told == Wait(missing=40, below_floor={"career": 5, "nayin": 5, "wealth": 4})
    assert isinstance(told, Wait)
    assert list(told.below_floor) == ["career", "nayin", "wealth"]


def test_an_intent_that_would_not_be_trained_needs_no_examples() -> None:
    assert verdict(intents=("wealth",), examples=Counter(wealth=5, career=1)) == Fire()


def test_a_floor_of_nothing_asks_for_nothing() -> None:
    assert decide(1, {"career"}, Counter(), threshold=1, floor=0) == Fire()


def test_looking_changes_no_count() -> None:
    examples = Counter(wealth=9)
    verdict(examples=examples)
    assert dict(examples) == {"wealth": 9}
