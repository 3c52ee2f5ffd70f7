"""Labels that were spoilt on purpose are found."""

from __future__ import annotations

import random

from schema.text import text_hash
from training.corpus import Row, seed_rows, split
from training.suspects import suspects


def test_most_of_the_worst_suspects_are_labels_that_were_spoilt() -> None:
    rows = split(seed_rows()).training[:1200]
    chance = random.Random(3)
    spoilt = dict.fromkeys(chance.sample(range(len(rows)), 40))
    for i in spoilt:
        rows[i] = Row(rows[i].question, ("nayin",) if "nayin" not in rows[i].intents else ("wealth",))
    found = suspects(rows, rows)
    wrong = {text_hash(rows[i].question).hex() for i in spoilt}
    assert sum(one["text_hash"] in wrong for one in found[:40]) >= 10, "at random it would be one"
    assert [one["quality"] for one in found] == sorted(one["quality"] for one in found)


def test_only_what_people_labelled_here_is_reported() -> None:
    rows = split(seed_rows()).training[:400]
    asked = [Row(rows[7].question, ("nayin",))]
    assert {one["text_hash"] for one in suspects(rows, asked)} <= {text_hash(rows[7].question).hex()}
    assert suspects(rows[:50], rows[:50]) == [], "too few to judge by"
