"""The gate lets nothing worse through, and does not mistake noise for a loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schema.taxonomy import INTENTS
from training.evaluate import Marks
from training.gate import MIN_ROWS, Sanity, judge, share_worse

SOUND = Sanity(finite=True, labels_equal=True)
CAREER, WEALTH = INTENTS.index("career"), INTENTS.index("wealth")


def labelled(*rows_per_intent: int) -> Marks:
    """Truth with so many rows of each intent, one after the other."""
    columns = np.repeat(np.arange(len(rows_per_intent)), rows_per_intent)
    return np.asarray(np.eye(len(INTENTS), dtype=np.bool_)[columns])


def silent(truth: Marks, *missed: tuple[int, int]) -> Marks:
    """Right answers, but none for the first `count` rows of each given (intent, count)."""
    said = truth.copy()
    for intent, count in missed:
        said[np.flatnonzero(truth[:, intent])[:count]] = False
    return said


EVERY_INTENT = labelled(*[40] * len(INTENTS))


@pytest.mark.parametrize("missed", [0, 5])
def test_an_equal_candidate_passes(missed: int) -> None:
    said = silent(EVERY_INTENT, (CAREER, missed))
    verdict = judge(said, said.copy(), EVERY_INTENT, SOUND)
    assert verdict.passed, verdict.reasons
    assert "worse in 0% of resamples" in verdict.reasons[0]


def test_a_better_candidate_passes() -> None:
    assert judge(silent(EVERY_INTENT, (WEALTH, 9)), EVERY_INTENT, EVERY_INTENT, SOUND).passed


def test_a_small_loss_beyond_the_noise_is_rejected() -> None:
    """One more wrong row of forty in every intent is less than three points, but no accident."""
    candidate = silent(EVERY_INTENT, *((intent, 1) for intent in range(len(INTENTS))))
    verdict = judge(EVERY_INTENT, candidate, EVERY_INTENT, SOUND)
    assert not verdict.passed
    assert len(verdict.reasons) == 1
    assert "macro-F1 1.0000 -> 0.98" in verdict.reasons[0]
    assert "beyond the noise" in verdict.reasons[0]


def test_a_small_loss_within_the_noise_passes() -> None:
    """Ten other rows are wrong, and one more: the next sample might say the opposite."""
    serving, candidate = EVERY_INTENT.copy(), EVERY_INTENT.copy()
    serving[::44] = False
    candidate[7::40] = False
    assert serving.sum() - candidate.sum() == 1
    verdict = judge(serving, candidate, EVERY_INTENT, SOUND)
    assert verdict.passed, verdict.reasons


def test_a_loss_of_more_than_three_points_is_rejected_even_within_the_noise() -> None:
    truth = labelled(*[2] * len(INTENTS))
    serving = silent(truth, (2, 1))
    candidate = silent(truth, (CAREER, 1), (WEALTH, 1))
    assert share_worse(serving, candidate, truth, seed=13) < 0.95
    verdict = judge(serving, candidate, truth, SOUND)
    assert not verdict.passed
    assert [reason for reason in verdict.reasons if "worse by more than 3 points" in reason]


@pytest.mark.parametrize(("rows", "passed"), [(10, False), (9, True)])
def test_an_intent_with_ten_rows_may_not_lose_five_points_whatever_the_others_win(rows: int, passed: bool) -> None:
    """One wrong row of ten costs 5.3 points; with nine rows there is too little to tell."""
    truth = labelled(rows, *[30] * (len(INTENTS) - 1))
    serving = silent(truth, *((intent, 6) for intent in range(1, len(INTENTS))))
    candidate = silent(truth, (CAREER, 1))
    verdict = judge(serving, candidate, truth, SOUND)
    assert verdict.passed is passed
    if not passed:
        assert [reason.split(":")[0] for reason in verdict.reasons] == ["career"]
        assert "on 10 rows, worse by more than 5 points" in verdict.reasons[0]


def test_an_intent_may_lose_less_than_five_points() -> None:
    truth = labelled(30, *[30] * (len(INTENTS) - 1))
    serving = silent(truth, (WEALTH, 6))
    assert judge(serving, silent(truth, (CAREER, 2)), truth, SOUND).passed  # 3.4 points
    assert not judge(serving, silent(truth, (CAREER, 3)), truth, SOUND).passed  # 5.3 points


@pytest.mark.parametrize("serving", [EVERY_INTENT, None])
def test_numbers_that_are_not_finite_are_rejected_however_good_the_scores(serving: Marks | None) -> None:
    verdict = judge(serving, EVERY_INTENT, EVERY_INTENT, Sanity(finite=False, labels_equal=True))
    assert not verdict.passed
    assert verdict.reasons == ["the candidate answers with numbers that are not finite"]


def test_other_labels_than_the_taxonomy_s_are_rejected() -> None:
    verdict = judge(EVERY_INTENT, EVERY_INTENT, EVERY_INTENT, Sanity(finite=True, labels_equal=False))
    assert not verdict.passed
    assert verdict.reasons == ["the candidate has other labels than the taxonomy"]


def test_the_first_version_passes_with_nothing_to_compare() -> None:
    verdict = judge(None, silent(EVERY_INTENT, (CAREER, 20)), EVERY_INTENT, SOUND)
    assert verdict.passed
    assert verdict.reasons[0].startswith("nothing serves yet")


@pytest.mark.parametrize("has_serving", [True, False])
def test_too_few_rows_judge_nobody(has_serving: bool) -> None:
    truth = EVERY_INTENT[: MIN_ROWS - 1]
    verdict = judge(truth if has_serving else None, truth, truth, SOUND)
    assert not verdict.passed
    assert "only 19 held-out rows" in verdict.reasons[0]
    enough = EVERY_INTENT[:MIN_ROWS]
    assert judge(enough if has_serving else None, enough, enough, SOUND).passed


def test_the_same_answers_get_the_same_verdict() -> None:
    rng = np.random.default_rng(1)
    serving, candidate = (EVERY_INTENT & (rng.random(EVERY_INTENT.shape) < 0.9) for _ in range(2))
    first = judge(serving, candidate, EVERY_INTENT, SOUND)
    assert first == judge(serving.copy(), candidate.copy(), EVERY_INTENT, SOUND)
    shares = {share_worse(serving, candidate, EVERY_INTENT, seed=seed) for seed in range(5)}
    assert len(shares) > 1, "the draws hang on the seed"
    assert max(shares) - min(shares) < 0.1, "and hardly matter"


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ({"golden_wrong": ("今年财运怎么样",)}, "1 golden questions are answered wrong: 今年财运怎么样"),
        ({"milliseconds": 51.0}, "a single answer takes 51.0 ms"),
        ({"size": 500 << 20}, "a replica would download 500 MB"),
        ({"calibration": (0.02, 0.041)}, "calibration error 2.0 -> 4.1 points"),
    ],
)
def test_a_candidate_with_equal_scores_is_rejected_for_what_else_is_known(fact: dict[str, Any], words: str) -> None:
    verdict = judge(EVERY_INTENT, EVERY_INTENT, EVERY_INTENT, replace(SOUND, **fact))
    assert not verdict.passed
    assert words in verdict.reasons[0]


def test_what_is_within_the_limits_passes() -> None:
    facts = Sanity(finite=True, labels_equal=True, milliseconds=49.9, size=300 << 20, calibration=(0.02, 0.04))
    assert judge(EVERY_INTENT, EVERY_INTENT, EVERY_INTENT, facts).passed
