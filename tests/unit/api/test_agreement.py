"""Agreement beyond chance, against published examples."""

from __future__ import annotations

import pytest

from api.agreement import alpha, kappa, masi, per_intent


def test_kappa_equals_the_textbook_example() -> None:
    """50 applications, two readers: 20 both yes, 15 both no, 5 and 10 disputed; kappa is 0.4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(pairs) == 0.4


def test_kappa_is_one_nothing_or_undefined() -> None:
    assert kappa([("a", "a"), ("b", "b")]) == 1
    assert kappa([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]) == 0
    assert kappa([("a", "b"), ("b", "a")]) == -1
    assert kappa([("a", "a")] * 3) is None
    assert kappa([]) is None


def test_alpha_equals_krippendorffs_example_of_two_observers() -> None:
    """Binary data, two observers, ten units ("Computing Krippendorff's Alpha-Reliability", section A): 0.095."""
    first, second = "0100000010", "1110010000"
    pairs = [(frozenset(one), frozenset(other)) for one, other in zip(first, second, strict=True)]
    assert alpha(pairs) == pytest.approx(0.095, abs=0.0005)


def test_answers_that_share_intents_agree_partly() -> None:
    one, two, three = frozenset("a"), frozenset("ab"), frozenset("bc")
    assert (masi(one, one), masi(one, three)) == (0, 1)
    assert masi(one, two) == pytest.approx(1 - 1 / 2 * 2 / 3)
    assert masi(two, three) == pytest.approx(1 - 1 / 3 * 1 / 3)
    strict, partly = [(one, three), (three, one), (two, two)], [(one, two), (three, three), (two, two)]
    assert (alpha(partly) or 0) > (alpha(strict) or 0)
    assert alpha([]) is None
    assert alpha([(one, one)] * 4) is None


def test_an_intent_is_judged_by_its_presence() -> None:
    pairs = [(frozenset("ab"), frozenset("a")), (frozenset("b"), frozenset("b")), (frozenset("c"), frozenset("c"))]
    assert per_intent(pairs, "a") == (1, 1)
    assert per_intent(pairs, "b")[1] == 2
    assert per_intent(pairs, "z") == (None, 0)
