"""A candidate beside the version that serves: figures of both, a plain verdict, and what is reason to end it. Pure.

Accuracy is compared on pairs: questions that people have labelled since and that both versions answered, one of them in
the shadow. An answer is right where its intents are the label's. Because somebody looks every few seconds, the intervals are
of 99 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from schema.events import LATENCY_BOUNDS_MS, AnswerFigures
from schema.settings import Settings

Z: Final = 2.576
"""Of the normal distribution, for 99 %."""
RELEVANT: Final = 0.02
"""A difference of accuracy that is worth looking for: with none in sight, so many labels are asked for as would show it."""
SLOW_MS: Final = 50.0
"""Answers faster than this are never too slow, however fast those of the other version are."""
Verdict = Literal["better", "worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share or a difference of shares, and where it lies with 99 % confidence."""

    value: float
    low: float
    high: float

    def told(self) -> dict[str, float]:
        """For JSON."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labelled questions that both versions answered: how often each was right."""

    both: int = 0
    candidate_only: int = 0
    serving_only: int = 0
    neither: int = 0

    @property
    def number(self) -> int:
        """How many there are."""
        return self.both + self.candidate_only + self.serving_only + self.neither


def share(part: float, whole: float) -> Interval | None:
    """`part` of `whole` with Wilson's score interval (1927); None of nothing."""
    if not whole:
        return None
    p, n = part / whole, whole
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    reach = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Interval(p, max(0.0, middle - reach), min(1.0, middle + reach))


def difference(pairs: Pairs) -> Interval | None:
    """How much more often the candidate is right; the interval is Bonett and Price's for paired shares (2012)."""
    n = pairs.number
    if not n:
        return None
    gained, lost = (pairs.candidate_only + 1) / (n + 2), (pairs.serving_only + 1) / (n + 2)
    reach = Z * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    value = (pairs.candidate_only - pairs.serving_only) / n
    return Interval(value, max(-1.0, gained - lost - reach), min(1.0, gained - lost + reach))


def labels_missing(pairs: Pairs, differ: float) -> int:
    """How many more pairs would show whether there is a difference, if it is as large as it looks now, at least `RELEVANT`.

    `differ`: the share of questions, labelled or not, to which the versions give different answers: only these can tell.
    """
    n = pairs.number
    seen = max(abs(pairs.candidate_only - pairs.serving_only) / n if n else 0.0, RELEVANT)
    tells = max((pairs.candidate_only + pairs.serving_only) / n if n else 0.0, differ, seen)
    return max(1, math.ceil(Z * Z * (tells - seen * seen) / seen**2) - n)


def verdict(pairs: Pairs, differ: float = 0.0) -> tuple[Verdict, str]:
    """Whether the candidate is better, worse, or not yet known to be either, and that in a sentence."""
    between = difference(pairs)
    if between is None:
        return (
            "unknown",
            f"not yet known: no labelled question was answered by both; about {labels_missing(pairs, differ)} would tell",
        )
    seen = f"{pairs.number} labelled questions, {100 * between.value:+.1f} points, {100 * between.low:+.1f} to"
    seen += f" {100 * between.high:+.1f} with 99 % confidence"
    if between.low > 0:
        return "better", f"better: {seen}"
    if between.high < 0:
        return "worse", f"worse: {seen}"
    return "unknown", f"not yet known: {seen}; about {labels_missing(pairs, differ)} more would tell"


def add(figures: Iterable[AnswerFigures]) -> AnswerFigures | None:
    """The figures of one version from several replicas, together."""
    every = list(figures)
    if not every:
        return None
    bins = len(LATENCY_BOUNDS_MS) + 1
    latency = [sum(one.latency[i] for one in every if len(one.latency) == bins) for i in range(bins)]
    names = ("answered", "failed", "unsure", "llm_calls", "confidence_sum", "compared", "agreed")
    return every[0].model_copy(update={name: sum(getattr(one, name) for one in every) for name in names} | {"latency": latency})


def quantile(latency: Sequence[int], q: float) -> float | None:
    """The milliseconds within which the share `q` was answered, as far as bins tell: the upper bound of the bin."""
    total, seen = sum(latency), 0
    for bound, number in zip((*LATENCY_BOUNDS_MS, 2 * LATENCY_BOUNDS_MS[-1]), latency, strict=False):
        seen += number
        if total and seen >= q * total:
            return float(bound)
    return None


def described(figures: AnswerFigures, right: int, labelled: int) -> dict[str, Any]:
    """One version's figures as the API tells them."""
    tried = figures.answered + figures.failed
    accuracy, unsure, errors = share(right, labelled), share(figures.unsure, figures.answered), share(figures.failed, tried)
    return {
        "version": figures.version,
        "answered": figures.answered,
        "failed": figures.failed,
        "error_rate": errors and errors.told(),
        "unsure_rate": unsure and unsure.told(),
        "llm_calls": figures.llm_calls,
        "llm_call_rate": round(figures.llm_calls / figures.answered, 4) if figures.answered else None,
        "mean_confidence": round(figures.confidence_sum / figures.answered, 4) if figures.answered else None,
        "p50_ms": quantile(figures.latency, 0.5),
        "p99_ms": quantile(figures.latency, 0.99),
        "labelled": labelled,
        "correct": right,
        "accuracy": accuracy and accuracy.told(),
    }


def breaches(serving: AnswerFigures, candidate: AnswerFigures, pairs: Pairs, settings: Settings) -> list[str]:
    """The guardrails that `candidate` broke, each with its numbers; none before it was asked often enough."""
    tried = candidate.answered + candidate.failed
    if tried < settings.guard_answers:
        return []
    found = []
    errors = share(candidate.failed, tried)
    if errors is not None and errors.low > settings.guard_error_rate:
        found.append(f"it fails on {errors.value:.1%} of the questions, {settings.guard_error_rate:.1%} may be")
    fast, slow = quantile(serving.latency, 0.99), quantile(candidate.latency, 0.99)
    if fast is not None and slow is not None and slow > max(SLOW_MS, settings.guard_latency * fast):
        found.append(f"its p99 is {slow:g} ms, beside {fast:g} ms")
    unsure, before = share(candidate.unsure, candidate.answered), share(serving.unsure, serving.answered)
    if unsure is not None and before is not None and unsure.low > before.high + settings.guard_llm_rate:
        found.append(f"it is unsure, and asks an LLM, for {unsure.value:.1%} of the questions, beside {before.value:.1%}")
    agreement = share(candidate.agreed, candidate.compared)
    if agreement is not None and candidate.compared >= settings.guard_answers and agreement.high < settings.guard_agreement:
        found.append(f"it agrees on {agreement.value:.1%} of the questions only, {settings.guard_agreement:.0%} are expected")
    if verdict(pairs)[0] == "worse":
        found.append(f"its answers are {verdict(pairs)[1]}")
    return found


def compare(serving: AnswerFigures, candidate: AnswerFigures, pairs: Pairs) -> tuple[Verdict, dict[str, Any]]:
    """Both versions side by side, and the verdict."""
    between, agreement = difference(pairs), share(candidate.agreed, candidate.compared)
    differ = 1 - agreement.value if agreement is not None else 0.0
    decided, says = verdict(pairs, differ)
    return decided, {
        "verdict": decided,
        "says": says,
        "pairs": pairs.number,
        "accuracy_difference": between and between.told(),
        "labels_missing": labels_missing(pairs, differ) if decided == "unknown" else 0,
        "agreement": agreement and agreement.told() | {"compared": candidate.compared},
        "serving": described(serving, pairs.both + pairs.serving_only, pairs.number),
        "candidate": described(candidate, pairs.both + pairs.candidate_only, pairs.number),
    }
