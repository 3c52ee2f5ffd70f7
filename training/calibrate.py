"""The share of the wide half, temperature and per-intent thresholds, chosen on validation rows that neither train nor judge.

Temperature: "On Calibration of Modern Neural Networks" (Guo et al., 2017), here on the sigmoid outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.predictor import Probabilities, sigmoid, together
from schema.taxonomy import Intent

SHARES: Final = np.linspace(0.0, 1.0, 21)
DEFAULT_SHARE: Final = 0.5
TEMPERATURES: Final = np.geomspace(0.25, 4.0, 81)
BARS: Final = np.arange(0.20, 0.801, 0.02)
DEFAULT_BAR: Final = 0.5
PRIOR_ROWS: Final = 20.0
"""A threshold found on n positive rows counts n, the default counts this much: few rows move it little."""


def wide_share(deep: Probabilities, wide: Probabilities, wanted: NDArray[np.float32]) -> float:
    """The share of the wide half with the least log loss, each share at its best temperature; a half without rows.

    Drawn towards a half where there are few rows, as the thresholds are.

    Args:
        deep, wide: the halves' logits, [rows, labels].
        wanted: 1 where the row carries the label, [rows, labels].
    """
    if not len(wanted):
        return DEFAULT_SHARE
    losses = [best_temperature(together(deep, wide, share), wanted)[1] for share in SHARES]
    best = float(SHARES[int(np.argmin(losses))])
    return round((len(wanted) * best + PRIOR_ROWS * DEFAULT_SHARE) / (len(wanted) + PRIOR_ROWS), 4)


def temperature(logits: Probabilities, wanted: NDArray[np.float32]) -> float:
    """The divisor of the logits that makes their log loss against `wanted` least; 1.0 without rows.

    Args:
        logits: float32 [rows, labels].
        wanted: 1 where the row carries the label, [rows, labels].
    """
    return best_temperature(logits, wanted)[0] if len(logits) else 1.0


def best_temperature(logits: Probabilities, wanted: NDArray[np.float32]) -> tuple[float, float]:
    """The divisor and the log loss that it reaches."""
    losses = []
    for divisor in TEMPERATURES:
        p = np.clip(sigmoid(logits / np.float32(divisor)), 1e-6, 1 - 1e-6)
        losses.append(float(-(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).mean()))
    best = int(np.argmin(losses))
    return round(float(TEMPERATURES[best]), 4), losses[best]


def thresholds(probabilities: Probabilities, wanted: NDArray[np.float32], labels: Sequence[Intent]) -> dict[Intent, float]:
    """For each label the bar with the best F1, drawn towards 0.5 where few rows carry the label.

    Of bars that are within a point of the best, the mean is taken: the peak of a small sample is luck.
    """
    chosen: dict[Intent, float] = {}
    for column, label in enumerate(labels):
        positives = float(wanted[:, column].sum())
        if not positives:
            chosen[label] = DEFAULT_BAR
            continue
        scores = np.array([_f1(probabilities[:, column] >= bar, wanted[:, column] > 0) for bar in BARS])
        best = float(BARS[scores >= scores.max() - 0.01].mean())
        chosen[label] = round((positives * best + PRIOR_ROWS * DEFAULT_BAR) / (positives + PRIOR_ROWS), 4)
    return chosen


def _f1(said: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    right = float((said & wanted).sum())
    return 2 * right / max(1.0, float(said.sum() + wanted.sum()))
