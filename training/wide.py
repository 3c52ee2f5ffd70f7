"""Fitting the wide half of a model (`inference.grams`): one logistic regression per intent, with scikit-learn.

It has one optimum, so it is fitted from nothing on all rows each time: it forgets nothing, and the same rows give the same
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression

from inference.grams import BUCKETS, Grams, buckets

INVERSE_REGULARISATION: Final = 30.0
ABSENT: Final = -8.0
"""The logit of an intent that no row carries."""


def fit_grams(texts: Sequence[str], wanted: NDArray[np.float32]) -> Grams:
    """Fit a layer.

    Args:
        texts: prepared ones (`inference.predictor.prepare`), as `Grams.logits` takes them.
        wanted: 1 where the question carries the label, [len(texts), labels].
    """
    found = [buckets(text) for text in texts]
    rows = np.repeat(np.arange(len(found)), [len(ids) for ids, _ in found])
    columns = np.concatenate([ids for ids, _ in found]) if found else np.empty(0, np.int64)
    values = np.concatenate([counts for _, counts in found]) if found else np.empty(0, np.float32)
    frequency = np.bincount(columns, minlength=BUCKETS)
    idf = np.where(frequency > 0, np.log((1 + len(found)) / (1 + frequency)) + 1, 0).astype(np.float32)
    values = values * idf[columns]
    length = np.sqrt(np.bincount(rows, values**2, minlength=len(found)))
    filled = np.flatnonzero(frequency)
    place = np.zeros(BUCKETS, np.int64)
    place[filled] = np.arange(len(filled))
    matrix = csr_matrix((values, (rows, place[columns])), shape=(len(found), len(filled)))
    matrix = diags(1 / np.maximum(length, 1e-9)) @ matrix
    weights, bias = np.zeros((BUCKETS, wanted.shape[1]), np.float32), np.full(wanted.shape[1], ABSENT, np.float32)
    for label in range(wanted.shape[1]):
        carried = wanted[:, label] > 0
        if carried.all() or not carried.any():
            bias[label] = -ABSENT if carried.any() else ABSENT
            continue
        # Far fewer rows than grams: the dual problem is the small one, and is solved in a sixteenth of the time of lbfgs.
        model = LogisticRegression(
            C=INVERSE_REGULARISATION, class_weight="balanced", solver="liblinear", dual=True, random_state=0
        )
        model.fit(matrix, carried)
        weights[filled, label], bias[label] = model.coef_[0], model.intercept_[0]
    return Grams(idf, weights, bias)
