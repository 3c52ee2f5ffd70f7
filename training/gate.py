"""The gate: may this candidate replace the serving version? A pure function of both versions' answers to the same rows.

The candidate passes if all of this holds:

* its numbers are finite and its labels are those of the taxonomy;
* it answers every golden question right, one question in time, and is not too large;
* its macro-F1 is not worse beyond the noise (paired bootstrap over the rows), and in no case by more than three points;
* no intent with at least ten held-out rows is worse by more than five points of F1;
* its confidence is not further from the share of right answers (expected calibration error) by more than two points.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.evaluate import Marks, Scores, score

RESAMPLES: Final = 2_000
SURE: Final = 0.95
"""Rejected for noise only if this share of resamples has the candidate worse."""
MAX_LOSS: Final = 0.03
MAX_INTENT_LOSS: Final = 0.05
MIN_INTENT_ROWS: Final = 10
MIN_ROWS: Final = 20
MAX_CALIBRATION_LOSS: Final = 0.02
MAX_MILLISECONDS: Final = 50.0
MAX_BYTES: Final = 400 << 20
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Sanity:
    """What is known of a candidate besides its answers to the held-out rows.

    Attributes:
        golden_wrong: the golden questions that it answers wrong.
        milliseconds: the median time of a single answer.
        size: bytes that a replica downloads.
        calibration: the expected calibration errors of the serving version and of the candidate, where both are known.
    """

    finite: bool
    labels_equal: bool
    golden_wrong: tuple[str, ...] = ()
    milliseconds: float = 0.0
    size: int = 0
    calibration: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate passed, and why, in words."""

    passed: bool
    reasons: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def judge(serving: Marks | None, candidate: Marks, truth: Marks, sanity: Sanity, *, seed: int = 13) -> Verdict:
    """The verdict on `candidate`.

    Args:
        serving: the serving version's answers, [rows, intents]; None when nothing serves yet.
        candidate: the candidate's answers to the same rows.
        truth: the labels.
        sanity: of the candidate.
        seed: of the bootstrap; the same input gets the same verdict.
    """
    faults = []
    if not sanity.finite:
        faults.append("the candidate answers with numbers that are not finite")
    if not sanity.labels_equal:
        faults.append("the candidate has other labels than the taxonomy")
    if len(truth) < MIN_ROWS:
        faults.append(f"only {len(truth)} held-out rows, at least {MIN_ROWS} are needed to judge")
    if sanity.golden_wrong:
        faults.append(f"{len(sanity.golden_wrong)} golden questions are answered wrong: {', '.join(sanity.golden_wrong[:5])}")
    if sanity.milliseconds > MAX_MILLISECONDS:
        faults.append(f"a single answer takes {sanity.milliseconds:.1f} ms, more than {MAX_MILLISECONDS:.0f}")
    if sanity.size > MAX_BYTES:
        faults.append(f"a replica would download {sanity.size >> 20} MB, more than {MAX_BYTES >> 20}")
    if faults:
        return Verdict(False, faults)
    new = score(candidate, truth)
    if serving is None:
        return Verdict(True, [f"nothing serves yet; macro-F1 {new.macro_f1:.4f} on {len(truth)} held-out rows"])
    old = score(serving, truth)
    worse = share_worse(serving, candidate, truth, seed=seed)
    compared = f"macro-F1 {old.macro_f1:.4f} -> {new.macro_f1:.4f} on {len(truth)} held-out rows"
    if new.macro_f1 < old.macro_f1 and worse >= SURE:
        faults.append(f"{compared}: worse in {worse:.0%} of {RESAMPLES} resamples, so beyond the noise")
    elif new.macro_f1 < old.macro_f1 - MAX_LOSS - _ROUNDING:
        faults.append(f"{compared}: worse by more than {100 * MAX_LOSS:.0f} points")
    faults += _lost_intents(old, new)
    if sanity.calibration and sanity.calibration[1] > sanity.calibration[0] + MAX_CALIBRATION_LOSS + _ROUNDING:
        before, after = (100 * error for error in sanity.calibration)
        faults.append(
            f"calibration error {before:.1f} -> {after:.1f} points, worse by more than {100 * MAX_CALIBRATION_LOSS:.0f}"
        )
    if faults:
        return Verdict(False, faults)
    return Verdict(True, [f"{compared} (worse in {worse:.0%} of resamples); no intent lost more than 5 points"])


def _lost_intents(old: Scores, new: Scores) -> list[str]:
    return [
        f"{intent}: F1 {old.per_intent[intent].f1:.4f} -> {one.f1:.4f} on {one.support} rows,"
        f" worse by more than {100 * MAX_INTENT_LOSS:.0f} points"
        for intent, one in new.per_intent.items()
        if one.support >= MIN_INTENT_ROWS and one.f1 < old.per_intent[intent].f1 - MAX_INTENT_LOSS - _ROUNDING
    ]


def share_worse(serving: Marks, candidate: Marks, truth: Marks, *, seed: int) -> float:
    """Paired bootstrap: the share of resamples of the rows in which the candidate's macro-F1 is below the serving one's.

    Efron and Tibshirani, "An Introduction to the Bootstrap"; both versions are scored on the same draws.
    """
    draws = np.random.default_rng(seed).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=RESAMPLES)
    carried = truth.sum(axis=0) > 0
    difference = _macro_f1(candidate, truth, draws, carried) - _macro_f1(serving, truth, draws, carried)
    return float((difference < -_ROUNDING).mean())


def _macro_f1(said: Marks, truth: Marks, draws: NDArray[np.int64], carried: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Macro-F1 in each resample: [resamples]."""
    right = draws @ (said & truth).astype(np.float64)
    total = draws @ (said.astype(np.float64) + truth)
    f1 = np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)
    return np.asarray(f1[:, carried].mean(axis=1), dtype=np.float64)
