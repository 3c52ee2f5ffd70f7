"""Labels that look wrong: those that a model, fitted on the other questions, contradicts. By cleanlab.

Each question is answered by the wide half (`training.wide`) of a model that was fitted without it, in folds; cleanlab ranks
how well the given label agrees with that ("Identifying Incorrect Annotations in Multi-Label Classification Data", Thyagarajan
et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from cleanlab.multilabel_classification.filter import find_label_issues
from cleanlab.multilabel_classification.rank import get_label_quality_scores

from inference.predictor import Probabilities, prepare, sigmoid
from schema.taxonomy import INTENTS, Intent
from schema.text import text_hash
from training.calibrate import DEFAULT_BAR
from training.corpus import Row
from training.evaluate import marks
from training.wide import fit_grams

FOLDS: Final = 4
MIN_ROWS: Final = 200
LIMIT: Final = 500


def suspects(rows: Sequence[Row], asked: Sequence[Row]) -> list[dict[str, Any]]:
    """Those of `asked` whose label looks wrong, the worst first: hash of the text, quality in 0..1, intents suggested.

    Args:
        rows: distinct labelled questions to judge by.
        asked: the ones among them that may be reported: nobody corrects the seed corpus by the queue.
    """
    if len(rows) < MIN_ROWS or not asked:
        return []
    truth = marks(rows)
    wanted = truth.astype(np.float32)
    folds = np.arange(len(rows)) % FOLDS
    texts = [prepare(row.question) for row in rows]
    probabilities = np.empty(wanted.shape, dtype=np.float32)
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold).tolist()
        grams = fit_grams([texts[i] for i in others], wanted[others])
        for i in np.flatnonzero(folds == fold).tolist():
            probabilities[i] = sigmoid(grams.logits(texts[i]))
    labels = [np.flatnonzero(row).tolist() for row in truth]
    issues = set(find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1).tolist())
    quality = get_label_quality_scores(labels, probabilities)
    reported = {text_hash(row.question) for row in asked}
    found = [i for i in issues if text_hash(rows[i].question) in reported]
    found.sort(key=lambda i: float(quality[i]))
    return [
        {
            "text_hash": text_hash(rows[i].question).hex(),
            "quality": round(float(quality[i]), 4),
            "suggested": _intents(probabilities[i]),
        }
        for i in found[:LIMIT]
    ]


def _intents(row: Probabilities) -> list[Intent]:
    return [INTENTS[j] for j in np.flatnonzero(row >= DEFAULT_BAR)] or [INTENTS[int(row.argmax())]]
