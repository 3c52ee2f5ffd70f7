"""Words that jieba splits: runs of characters that keep together, whatever stands beside them.

A run is a word if it occurs far oftener than its parts would meet by chance (pointwise mutual information), and if several
different characters stand before and behind it (Sproat and Shih, 1990; Huang and Powers, 2003).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from inference.rules import STOP_WORDS
from schema.text import simplify

LENGTHS: Final = (2, 3, 4)
MIN_NEIGHBOURS: Final = 2
MIN_INFORMATION: Final = 4.0
"""Bits by which the run is likelier than its likeliest split."""
_RUN: Final = re.compile(r"[\u4e00-\u9fff]+")
_EDGE: Final = "|"
_LOOSE: Final = frozenset("的了吗呢啊吧我你他她这那么怎")
"""Characters that join any words: a run that begins or ends with one is a phrase, not a word."""


def new_words(texts: Sequence[str], split: Callable[[str], Sequence[str]], *, min_support: int) -> list[str]:
    """Words that stand in at least `min_support` of `texts` and that `split` does not know; sorted."""
    counts: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    before: defaultdict[str, set[str]] = defaultdict(set)
    behind: defaultdict[str, set[str]] = defaultdict(set)
    characters = 0
    for text in texts:
        seen = set()
        for run in _RUN.findall(simplify(text)):
            characters += len(run)
            padded = f"{_EDGE}{run}{_EDGE}"
            counts.update(run)
            for length in LENGTHS:
                for start in range(1, len(run) - length + 2):
                    gram = padded[start : start + length]
                    counts[gram] += 1
                    before[gram].add(padded[start - 1])
                    behind[gram].add(padded[start + length])
                    seen.add(gram)
        holders.update(seen)
    return sorted(
        gram
        for gram, number in holders.items()
        if number >= min_support
        and min(len(before[gram]), len(behind[gram])) >= MIN_NEIGHBOURS
        and not (gram[0] in _LOOSE or gram[-1] in _LOOSE or gram in STOP_WORDS)
        and _information(gram, counts, characters) >= MIN_INFORMATION
        and len(split(gram)) > 1
    )


def _information(gram: str, counts: Counter[str], total: int) -> float:
    chance = max(counts[gram[:cut]] * counts[gram[cut:]] for cut in range(1, len(gram)))
    return math.log2(counts[gram] * total / chance)
