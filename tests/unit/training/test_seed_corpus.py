"""The seed corpus is large and even enough, holds no near-copies and nothing personal, and lies in a fixed order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil

import pytest

from api.mixing import grams
from schema.privacy import find
from schema.taxonomy import INTENTS
from schema.text import text_hash
from training.corpus import Row, seed_rows

ALIKE = 0.6


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return seed_rows()  # it refuses illegal labels and empty questions


def near_copies(texts: Sequence[str], alike: float = ALIKE) -> list[tuple[str, str]]:
    """Pairs whose sets of grams have a Jaccard index of at least `alike`.

    Sets that are so much alike share one of their rarest grams, so only texts that do are compared: prefix filtering
    (Chaudhuri et al., "A Primitive Operator for Similarity Joins", 2006).
    """
    sets = [grams(text) for text in texts]
    frequency = Counter(gram for one in sets for gram in one)
    index: defaultdict[str, list[int]] = defaultdict(list)
    pairs = []
    for here, one in enumerate(sets):
        rarest = sorted(one, key=lambda gram: (frequency[gram], gram))[: len(one) - ceil(alike * len(one)) + 1]
        candidates = {other for gram in rarest for other in index[gram]}
        pairs += [(texts[i], texts[here]) for i in candidates if len(one & sets[i]) >= alike * len(one | sets[i])]
        for gram in rarest:
            index[gram].append(here)
    return pairs


def test_the_search_for_near_copies_finds_what_comparing_all_finds() -> None:
    texts = [f"{who}{when}{what}{how}" for who in ("我", "我家孩子", "老板") for when in ("明年", "下半年", "") for what in
             ("的财运", "的事业运", "能不能升职") for how in ("怎么样", "好不好呢", "")]  # fmt: skip
    every = {
        (a, b) for i, b in enumerate(texts) for a in texts[:i] if len(grams(a) & grams(b)) >= ALIKE * len(grams(a) | grams(b))
    }
    assert len(every) > 5
    assert set(near_copies(texts)) == every


def test_there_are_at_least_4000_questions_600_of_them_with_several_intents(rows: list[Row]) -> None:
    assert len(rows) >= 4000
    assert sum(len(row.intents) > 1 for row in rows) >= 600


def test_every_intent_has_at_least_250_questions_and_non_fortune_1000(rows: list[Row]) -> None:
    count = Counter(intent for row in rows for intent in row.intents)
    assert {intent: n for intent in INTENTS if (n := count[intent]) < 250} == {}
    assert count["non_fortune"] >= 1000


def test_no_two_questions_are_nearly_the_same(rows: list[Row]) -> None:
    pairs = near_copies([row.question for row in rows])
    assert not pairs, f"{len(pairs)} pairs, such as {pairs[:5]}"


def test_no_question_holds_a_number_or_address_of_a_person(rows: list[Row]) -> None:
    assert [row.question for row in rows if find(row.question)] == []


def test_the_questions_are_distinct_and_sorted_by_the_hash_of_their_text(rows: list[Row]) -> None:
    hashes = [text_hash(row.question) for row in rows]
    assert hashes == sorted(set(hashes))
