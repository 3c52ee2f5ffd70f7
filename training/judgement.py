"""Both versions, asked the same: what the gate decides on, and what is kept of it.

Held-out rows and golden questions go through the predictor that replicas run, in the order of the taxonomy's intents.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.artefact import read_manifest
from inference.predictor import Predictor
from inference.rules import KeywordRules
from schema.taxonomy import INTENTS
from schema.text import text_hash
from training.corpus import Row, read_rows
from training.evaluate import Answers, Marks, answers, calibration_error, marks, reliability, score
from training.gate import Sanity, Verdict, judge
from training.rule_report import rules_alone

GOLDEN_QUESTIONS: Final = Path(__file__).with_name("golden.jsonl")
MAX_CHANGED: Final = 200
TIMED: Final = 50
"""Questions whose answers are timed."""


def judge_folder(
    candidate: Path, serving: Path | None, held_out: Sequence[Row], *, threads: int, golden: Sequence[Row] | None = None
) -> tuple[Verdict, dict[str, Any]]:
    """The gate's verdict on the artefact in `candidate`, and the figures behind it, for metrics.json.

    Args:
        candidate: a sealed artefact.
        serving: the one that it would replace; None where none serves yet.
        held_out: rows that neither has seen.
        golden: questions that must be answered right; None takes those of `GOLDEN_QUESTIONS`.

    Raises:
        ArtefactError: an artefact does not load.
    """
    truth = marks(held_out)
    model = Predictor.load(candidate, threads=threads)
    rules = KeywordRules.load(candidate)
    new = answers(model, held_out)
    old = answers(Predictor.load(serving, threads=threads), held_out) if serving else None
    bins = reliability(new.confidence, new.right(truth))
    error = calibration_error(bins)
    old_error = calibration_error(reliability(old.confidence, old.right(truth))) if old else None
    golden = read_rows(GOLDEN_QUESTIONS) if golden is None else golden
    wanted = marks(golden)
    told = answers(model, golden)
    # The first intent is right, and every intent of the label is among those answered.
    golden_right: Marks = np.asarray((told.said | ~wanted).all(axis=1) & told.right(wanted))
    finite, milliseconds = _one_by_one(model, held_out[:TIMED])
    sanity = Sanity(
        finite=finite,
        labels_equal=model.labels == INTENTS,
        golden_wrong=tuple(row.question for row, right in zip(golden, golden_right, strict=True) if not right),
        milliseconds=milliseconds,
        size=sum(entry.size for entry in read_manifest(candidate).files.values() if entry.role == "serving"),
        calibration=None if old_error is None else (old_error, error),
    )
    verdict = judge(old.said if old else None, new.said, truth, sanity)
    return verdict, {
        "held_out_rows": len(held_out),
        "serving": None if old is None else score(old.said, truth).as_json() | {"calibration_error": old_error},
        "candidate": score(new.said, truth).as_json() | {"calibration_error": error},
        "reliability": [asdict(one) for one in bins],
        "confusion": confusion(new, truth).tolist(),
        "milliseconds": round(sanity.milliseconds, 3),
        "size": sanity.size,
        "golden": {"questions": len(golden), "wrong": list(sanity.golden_wrong)},
        "rules_alone": {
            "serving": rules_alone(KeywordRules.load(serving), held_out) if serving else None,
            "candidate": rules_alone(rules, held_out),
        },
        "changed": [] if old is None else changed(held_out, old.said, new.said, truth),
        "gate": verdict.as_json(),
    }


def _one_by_one(model: Predictor, rows: Sequence[Row]) -> tuple[bool, float]:
    """Whether all probabilities are finite, and the median milliseconds of an answer."""
    finite, took = True, []
    for row in rows:
        began = time.perf_counter()
        found = model.probabilities([row.question])
        took.append(1000 * (time.perf_counter() - began))
        finite = finite and bool(np.isfinite(found).all())
    return finite, statistics.median(took) if took else 0.0


def confusion(given: Answers, truth: Marks) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of the rows with one intent alone, how many were answered first with which: [intents, intents], truth by answer."""
    single = truth.sum(axis=1) == 1
    table = np.zeros((len(INTENTS), len(INTENTS)), dtype=np.int64)
    np.add.at(table, (truth[single].argmax(axis=1), given.first[single]), 1)
    return table


def changed(rows: Sequence[Row], old: Marks, new: Marks, truth: Marks) -> list[dict[str, Any]]:
    """The rows that one version gets right and the other does not, those that became wrong first; at most `MAX_CHANGED`.

    A row is named by its text's hash: a user's words belong into the database alone.
    """
    was, became = (old == truth).all(axis=1), (new == truth).all(axis=1)
    sides = sorted(np.flatnonzero(was != became).tolist(), key=lambda i: (bool(became[i]), rows[i].question))
    return [
        {
            "text_hash": text_hash(rows[i].question).hex(),
            "intents": list(rows[i].intents),
            "before": [intent for intent, said in zip(INTENTS, old[i], strict=True) if said],
            "after": [intent for intent, said in zip(INTENTS, new[i], strict=True) if said],
            "right": bool(became[i]),
        }
        for i in sides[:MAX_CHANGED]
    ]
