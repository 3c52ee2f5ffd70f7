"""What is gone over again: enough, evenly over the intents, never a copy of what is new, the same draw each time."""

from __future__ import annotations

from collections import Counter

from schema.taxonomy import INTENTS
from training.corpus import Row
from training.replay import MIN_ROWS, PER_FRESH_ROW, sample

POOL = [Row(f"{intent}第{'甲' * (i + 1)}问", (intent,)) for intent in INTENTS for i in range(40 + 40 * INTENTS.index(intent))]
FRESH = [Row(f"新问{'乙' * (i + 1)}", ("career",)) for i in range(3)]


def draw(fresh: list[Row] = FRESH, pool: list[Row] = POOL, salt: str = "13:v0") -> list[Row]:
    return sample(pool, fresh, salt=salt, labels=INTENTS)


def test_at_least_400_rows_and_four_for_each_fresh_one() -> None:
    assert len(draw()) == MIN_ROWS == 400
    many = [Row(f"新问{'丙' * (i + 1)}", ("wealth",)) for i in range(200)]
    assert len(draw(many)) == PER_FRESH_ROW * 200 == 800


def test_intents_are_as_present_as_their_rows_allow() -> None:
    drawn = Counter(row.intents[0] for row in draw())
    assert drawn.keys() == set(INTENTS)
    assert max(drawn.values()) - min(drawn.values()) <= 1, drawn
    many = [Row(f"新问{'丙' * (i + 1)}", ("wealth",)) for i in range(200)]
    uneven = Counter(row.intents[0] for row in draw(many))
    assert uneven["career"] == 40, "a short intent gives all it has"
    assert max(uneven.values()) - min(n for intent, n in uneven.items() if intent != "career") <= 1


def test_a_row_of_several_intents_is_taken_once() -> None:
    pool = [Row(row.question, ("career", "wealth", "general")) for row in POOL]
    drawn = draw(pool=pool)
    assert len(drawn) == len({row.question for row in drawn}) == 400


def test_copies_of_fresh_rows_are_left_out_because_the_newest_label_holds() -> None:
    old = Row("我的財運，怎麼樣？", ("general",))
    drawn = draw([Row("我的财运怎么样", ("wealth",))], [old, *POOL[:50]])
    assert old not in drawn
    assert len(drawn) == 50


def test_a_small_pool_is_taken_whole() -> None:
    assert sorted(draw(pool=POOL[:70]), key=str) == sorted(POOL[:70], key=str)
    assert draw(pool=[]) == []


def test_the_draw_hangs_on_texts_and_salt_alone() -> None:
    assert draw() == draw(pool=POOL[::-1])
    assert {row.question for row in draw()} != {row.question for row in draw(salt="13:v1")}
