"""A page of the labelling queue that teaches more than the least certain questions alone: pure functions over candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schema.text import normalise

ALIKE: Final = 0.6
"""Two questions whose character 3-grams have at least this Jaccard index are near-copies: one of them is enough."""
RANDOM_SHARE: Final = 0.2
"""Of a page, drawn from all that wait: only on those are metrics honest."""
RARE_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting question, and what the model answered: no intents where it was never asked."""

    id: int
    question: str
    intents: tuple[str, ...]


def grams(text: str) -> frozenset[str]:
    """The runs of three characters of the normalised text; a shorter text is one of its own."""
    plain = normalise(text)
    return frozenset(plain[i : i + 3] for i in range(max(1, len(plain) - 2)))


class Page:
    """A page that is filled, without near-copies."""

    def __init__(self, size: int) -> None:
        self.ids: list[int] = []
        self._size = size
        self._grams: list[frozenset[str]] = []

    def add(self, candidates: Iterable[Candidate], number: int) -> None:
        """Take the first `number` of `candidates` that are unlike all that is on the page."""
        for one in candidates:
            if number <= 0 or len(self.ids) >= self._size:
                return
            mine = grams(one.question)
            if one.id not in self.ids and not any(len(mine & other) >= ALIKE * len(mine | other) for other in self._grams):
                self.ids.append(one.id)
                self._grams.append(mine)
                number -= 1


def mix(uncertain: Sequence[Candidate], drawn: Sequence[Candidate], labels: Counter[str], size: int) -> list[int]:
    """Ids of at most `size` questions: rare intents, different intents in turns, and a random share.

    Args:
        uncertain: candidates, the least certain first; several times `size`.
        drawn: candidates drawn from all that wait.
        labels: how many labels there are of each intent.
        size: of the page.
    """
    page = Page(size)
    page.add(drawn, round(RANDOM_SHARE * size))
    page.add(sorted(uncertain, key=lambda one: _rarity(one.intents, labels)), round(RARE_SHARE * size))
    page.add(in_turns(uncertain), size)
    page.add(drawn, size)
    return page.ids


def _rarity(intents: Collection[str], labels: Counter[str]) -> int:
    return min((labels[intent] for intent in intents), default=0)


def in_turns(candidates: Sequence[Candidate]) -> list[Candidate]:
    """`candidates` so that the answers' first intents take turns, each in its own order."""
    place: Counter[str] = Counter()
    turns = []
    for position, one in enumerate(candidates):
        first = one.intents[0] if one.intents else ""
        turns.append((place[first], position, one))
        place[first] += 1
    return [one for _, _, one in sorted(turns, key=lambda turn: turn[:2])]
