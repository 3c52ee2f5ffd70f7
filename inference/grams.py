"""The wide half of a model: a linear layer over the characters and pairs of characters of a question.

An encoder that starts from nothing needs thousands of questions; counts of characters tell most of what a few hundred can
teach, and are fitted exactly. Both halves add their logits ("Wide & Deep Learning for Recommender Systems", Cheng et al.,
2016). Grams are hashed to a fixed number of buckets (Weinberger et al., 2009), weighted as TF-IDF, 1 + log of the count times
the inverse document frequency, to length 1. Buckets that no training question filled weigh nothing.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from schema.errors import ArtefactError

BUCKETS: Final = 1 << 16
GRAMS_FILE: Final = "grams.npz"


def buckets(prepared: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The buckets that a prepared text fills, and 1 + log of how often: [filled] each, in no certain order."""
    data = prepared.encode("utf-32-le")
    ends = range(4, len(data) + 1, 4)
    counts = Counter(zlib.crc32(data[end - 4 : end]) % BUCKETS for end in ends)
    counts.update(zlib.crc32(data[end - 8 : end]) % BUCKETS for end in ends[1:])
    ids = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
    return ids, np.log(np.fromiter(counts.values(), dtype=np.float32, count=len(counts))) + np.float32(1)


@dataclass(frozen=True, slots=True)
class Grams:
    """A fitted layer.

    Attributes:
        idf: float32 [BUCKETS].
        weights: float32 [BUCKETS, labels].
        bias: float32 [labels].
    """

    idf: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, prepared: str) -> NDArray[np.float32]:
        """float32 [labels]."""
        ids, counts = buckets(prepared)
        values = counts * self.idf[ids]
        length = float(np.sqrt(values @ values)) or 1.0
        return np.asarray((values / np.float32(length)) @ self.weights[ids] + self.bias, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write it as `GRAMS_FILE`, weights in fp16: only buckets that are filled."""
        filled = np.flatnonzero(self.idf)
        halved = {"idf": self.idf[filled].astype(np.float16), "weights": self.weights[filled].astype(np.float16)}
        with (folder / GRAMS_FILE).open("wb") as file:
            np.savez(file, allow_pickle=False, filled=filled.astype(np.int32), bias=self.bias, **halved)

    @classmethod
    def load(cls, folder: Path, labels: int) -> Grams:
        """Read `GRAMS_FILE`.

        Raises:
            ArtefactError: it cannot be read, or is for another number of labels.
        """
        try:
            with np.load(folder / GRAMS_FILE, allow_pickle=False) as kept:
                filled, bias = kept["filled"], kept["bias"].astype(np.float32)
                idf, weights = np.zeros(BUCKETS, np.float32), np.zeros((BUCKETS, len(bias)), np.float32)
                idf[filled], weights[filled] = kept["idf"], kept["weights"]
        except (OSError, EOFError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise ArtefactError(f"{folder / GRAMS_FILE} cannot be loaded: {error}") from error
        if len(bias) != labels:
            raise ArtefactError(f"{folder / GRAMS_FILE} has {len(bias)} labels, the manifest {labels}")
        return cls(idf, weights, bias)
