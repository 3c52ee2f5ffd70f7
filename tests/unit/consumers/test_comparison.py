"""A verdict is only given where the numbers carry it, and a candidate is ended for harm, not for luck."""

from __future__ import annotations

import math
import random

import pytest

from consumers.comparison import Pairs, add, breaches, compare, difference, labels_missing, quantile, share, verdict
from consumers.figures import Figures
from schema.events import LATENCY_BOUNDS_MS, AnswerFigures
from schema.settings import Settings

SETTINGS = Settings(kafka="127.0.0.1:1")


def figures(version: str = "v1", *, milliseconds: float = 4.0, **counts: float) -> AnswerFigures:
    found = Figures(version, 2)
    for _ in range(int(counts.pop("answered", 1000))):
        found.answered(0.8, milliseconds / 1000, unsure=False)
    return found.told().model_copy(update=counts)


@pytest.mark.parametrize(("part", "whole", "low", "high"), [(0, 10, 0.0, 0.399), (50, 100, 0.375, 0.625), (10, 10, 0.601, 1.0)])
def test_a_share_has_wilson_s_interval(part: int, whole: int, low: float, high: float) -> None:
    found = share(part, whole)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))
    assert share(0, 0) is None


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says() -> None:
    chance = random.Random(1)
    held = 0
    for _ in range(2000):
        drawn = chance.choices(("both", "candidate_only", "serving_only", "neither"), (0.6, 0.15, 0.1, 0.15), k=120)
        between = difference(Pairs(**{name: drawn.count(name) for name in set(drawn)}))
        assert between is not None
        held += between.low <= 0.05 <= between.high
    assert 0.98 <= held / 2000 <= 1.0


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (Pairs(), "unknown"),
        (Pairs(both=3, candidate_only=2), "unknown"),
        (Pairs(both=100, candidate_only=40, serving_only=5, neither=10), "better"),
        (Pairs(both=100, candidate_only=5, serving_only=40, neither=10), "worse"),
        (Pairs(both=1000, candidate_only=20, serving_only=20), "unknown"),
    ],
)
def test_a_verdict_waits_until_the_interval_leaves_zero(pairs: Pairs, said: str) -> None:
    decided, sentence = verdict(pairs, 0.2)
    assert decided == said
    assert sentence.startswith("not yet known" if said == "unknown" else said)
    assert ("would tell" in sentence) is (said == "unknown")


def test_as_many_more_labels_as_are_asked_for_settle_a_difference_that_stays() -> None:
    pairs = Pairs(both=30, candidate_only=6, serving_only=2, neither=2)
    assert verdict(pairs)[0] == "unknown"
    times = math.ceil((pairs.number + labels_missing(pairs, 0.2)) / pairs.number)
    assert verdict(Pairs(both=30 * times, candidate_only=6 * times, serving_only=2 * times, neither=2 * times))[0] == "better"


def test_figures_of_several_replicas_are_added() -> None:
    both = add([figures(answered=10, compared=4, agreed=3), figures(answered=20, compared=6, agreed=6)])
    assert both is not None
    assert (both.answered, both.compared, both.agreed, sum(both.latency)) == (30, 10, 9, 30)
    assert add([]) is None


def test_latencies_fall_into_the_bin_of_their_upper_bound() -> None:
    latency = figures(answered=99, milliseconds=4.0).latency
    latency[-1] = 1
    assert (quantile(latency, 0.5), quantile(latency, 0.99), quantile(latency, 1.0)) == (5.0, 5.0, 2.0 * LATENCY_BOUNDS_MS[-1])
    assert quantile([0] * len(latency), 0.99) is None


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (figures(failed=60), "it fails on"),
        (figures(milliseconds=190), "its p99 is 200 ms, beside 5 ms"),
        (figures(unsure=400), "it is unsure, and asks an LLM, for 40.0%"),
        (figures(compared=900, agreed=300), "it agrees on 33.3%"),
    ],
)
def test_each_guardrail_says_what_broke_it(candidate: AnswerFigures, reason: str) -> None:
    serving = figures("v0", unsure=100)
    [found] = breaches(serving, candidate, Pairs(), SETTINGS)
    assert reason in found
    few = candidate.model_copy(update={"answered": 40, "failed": min(candidate.failed, 20)})
    assert breaches(serving, few, Pairs(), SETTINGS) == [], "asked too seldom to be judged"


def test_a_candidate_that_does_no_harm_goes_on_and_a_worse_one_is_ended() -> None:
    serving, candidate = figures("v0", unsure=100), figures(unsure=120, compared=900, agreed=800, milliseconds=45)
    assert breaches(serving, candidate, Pairs(both=50, serving_only=2), SETTINGS) == []
    [found] = breaches(serving, candidate, Pairs(both=100, candidate_only=5, serving_only=40), SETTINGS)
    assert found.startswith("its answers are worse: 145 labelled questions, -24.1 points")


def test_a_comparison_tells_both_versions_and_what_is_missing() -> None:
    decided, told = compare(
        figures("v0"), figures(compared=100, agreed=80), Pairs(both=10, candidate_only=2, serving_only=1, neither=1)
    )
    assert (decided, told["verdict"], told["pairs"]) == ("unknown", "unknown", 14)
    assert (told["serving"]["correct"], told["candidate"]["correct"], told["candidate"]["labelled"]) == (11, 12, 14)
    assert told["labels_missing"] > 100
    assert told["agreement"]["value"] == 0.8
