"""How good an artefact is on labelled rows, measured through the predictor that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.artefact import SERVING, verify
from inference.predictor import Predictor
from schema.taxonomy import INTENTS, Intent
from training.corpus import Row

BINS: Final = 10
Marks = NDArray[np.bool_]
"""[rows, intents] in the order of `INTENTS`: whether the row carries, or was given, the intent."""


@dataclass(frozen=True, slots=True)
class IntentScore:
    """One intent's scores, 0..1, and the rows that carry it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What an artefact reaches on some rows.

    Attributes:
        macro_f1: mean F1 over the intents that any row carries.
        micro_f1: F1 over all single decisions.
        accuracy: share of rows whose set of intents is exactly right.
    """

    rows: int
    macro_f1: float
    micro_f1: float
    accuracy: float
    per_intent: dict[Intent, IntentScore]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluate(model: Path, rows: Sequence[Row], *, threads: int = 1) -> Scores:
    """Score the artefact in `model` on `rows`; it is verified first.

    Raises:
        ArtefactError: the artefact is not whole or does not load.
    """
    verify(model, sha256=None, roles=SERVING)
    return score(answers(Predictor.load(model, threads=threads), rows).said, marks(rows))


def marks(rows: Sequence[Row], labels: Sequence[Intent] = INTENTS) -> Marks:
    """Which of `labels` each row carries, [rows, labels]."""
    return np.array([[label in row.intents for label in labels] for row in rows], dtype=np.bool_).reshape(-1, len(labels))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a version answers to some rows.

    Attributes:
        said: the intents that it decides for.
        confidence: the probability of each answer's first intent, [rows].
        first: that intent's place in `INTENTS`, [rows].
    """

    said: Marks
    confidence: NDArray[np.float64]
    first: NDArray[np.int64]

    def right(self, truth: Marks) -> NDArray[np.bool_]:
        """Whether the row carries the answer's first intent, [rows]: what the confidence is of."""
        return np.asarray(truth[np.arange(len(truth)), self.first], dtype=np.bool_)


def answers(predictor: Predictor, rows: Sequence[Row]) -> Answers:
    """What `predictor` answers to `rows`."""
    probabilities = predictor.probabilities([row.question for row in rows])
    decided = [predictor.decide(p) for p in probabilities]
    return Answers(
        said=np.array([[i in d for i in INTENTS] for d in decided], dtype=np.bool_).reshape(-1, len(INTENTS)),
        confidence=np.array([p[predictor.labels.index(d[0])] for p, d in zip(probabilities, decided, strict=True)]),
        first=np.array([INTENTS.index(d[0]) for d in decided], dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same confidence: its mean, the share of them that was right, how many they are."""

    confidence: float
    right: float
    rows: int


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """The answers by their confidence, in ten bins of equal width; empty ones are left out."""
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = [places == place for place in range(BINS)]
    return [
        Bin(round(float(confidence[one].mean()), 4), round(float(right[one].mean()), 4), int(one.sum()))
        for one in bins
        if one.any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error, 0..1: how far confidence and share of right answers lie apart (Naeini et al., 2015)."""
    rows = sum(one.rows for one in bins)
    return round(sum(one.rows * abs(one.confidence - one.right) for one in bins) / rows, 6) if rows else 0.0


def score(said: Marks, truth: Marks) -> Scores:
    """The scores of answers `said` against labels `truth`."""
    right, given, carried = (said & truth).sum(axis=0), said.sum(axis=0), truth.sum(axis=0)
    per_intent = {
        intent: IntentScore(
            precision=_ratio(right[i], given[i]),
            recall=_ratio(right[i], carried[i]),
            f1=_ratio(2 * right[i], given[i] + carried[i]),
            support=int(carried[i]),
        )
        for i, intent in enumerate(INTENTS)
    }
    return Scores(
        rows=len(truth),
        macro_f1=macro_f1(said, truth),
        micro_f1=_ratio(2 * right.sum(), given.sum() + carried.sum()),
        accuracy=_ratio((said == truth).all(axis=1).sum(), len(truth)),
        per_intent=per_intent,
    )


def macro_f1(said: Marks, truth: Marks) -> float:
    """Mean F1 over the intents that `truth` holds; 0 without rows."""
    carried = truth.sum(axis=0)
    f1 = 2 * (said & truth).sum(axis=0) / np.maximum(said.sum(axis=0) + carried, 1)
    return round(float(f1[carried > 0].mean()), 6) if carried.any() else 0.0


def _ratio(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 6) if whole else 0.0
