"""How far two people who know nothing of each other's answers agree, beyond chance: pure functions over pairs of answers.

* Cohen's kappa for two raters: J. Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological
  Measurement 20 (1960), 37-46.
* Krippendorff's alpha for any distance: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
* The distance between sets of intents is MASI: R. Passonneau, "Measuring Agreement on Set-valued Items (MASI) for Semantic and
  Pragmatic Annotation", LREC 2006. It counts answers that share intents as partly agreeing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

Answer = frozenset[str]


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of what the first and the second rater said of each item, -1..1; None where chance alone agrees on all."""
    if not pairs:
        return None
    number = len(pairs)
    observed = sum(one == other for one, other in pairs) / number
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[value] * second[value] for value in first) / number**2
    return None if expected == 1 else round((observed - expected) / (1 - expected), 4)


def alpha(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """Krippendorff's alpha with the MASI distance, two answers of each item; None where all answers are the same."""
    said = Counter(answer for pair in pairs for answer in pair)
    total = said.total()
    if total < 2:
        return None
    expected = sum(m * n * masi(one, other) for one, m in said.items() for other, n in said.items()) / (total * (total - 1))
    observed = sum(masi(one, other) for one, other in pairs) / len(pairs)
    return None if expected == 0 else round(1 - observed / expected, 4)


def masi(one: Answer, other: Answer) -> float:
    """The distance between two sets that are not empty: 0 where they are the same, 1 where they share nothing."""
    shared = len(one & other)
    monotonic = 1.0 if one == other else 2 / 3 if one <= other or other <= one else 1 / 3 if shared else 0.0
    return 1 - shared / len(one | other) * monotonic


def per_intent(pairs: Sequence[tuple[Answer, Answer]], intent: str) -> tuple[float | None, int]:
    """Kappa of whether an answer holds `intent`, and how many items have it in an answer."""
    holds = [(intent in one, intent in other) for one, other in pairs]
    return kappa(holds), sum(one or other for one, other in holds)
