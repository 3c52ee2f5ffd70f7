"""A mixed page: no near-copies, rare intents, and an honest share."""

from __future__ import annotations

from collections import Counter

from api.mixing import RANDOM_SHARE, Candidate, in_turns, mix

WORDS = ("财运", "姻缘", "跳槽", "考研", "买房", "创业", "官司", "搬家", "怀孕", "失眠", "还债", "升职")


def candidates(first: int, number: int, intent: str) -> list[Candidate]:
    """Different questions: each has words of its own."""
    return [
        Candidate(first + n, f"{chr(0x5000 + 7 * (first + n))}{WORDS[n % 12]}{chr(0x6000 + 5 * (first + n))}怎么样", (intent,))
        for n in range(number)
    ]


def test_a_page_has_no_near_copies() -> None:
    copies = [Candidate(n, f"我今年的财运到底怎么样{'？' * n}", ("wealth",)) for n in range(1, 20)]
    page = mix([*copies, *candidates(100, 30, "career")], candidates(200, 10, "health"), Counter(), 20)
    assert len([number for number in page if number < 20]) == 1
    assert len(page) == 20


def test_a_share_is_drawn_at_random_from_all() -> None:
    page = mix(candidates(100, 100, "wealth"), candidates(500, 30, "wealth"), Counter(wealth=500), 20)
    assert len([number for number in page if number >= 500]) == RANDOM_SHARE * 20


def test_rare_intents_come_before_the_frequent_ones() -> None:
    frequent, rare = candidates(100, 100, "wealth"), candidates(300, 10, "nayin")
    page = mix([*frequent, *rare], [], Counter(wealth=900, nayin=3), 20)
    assert len([number for number in page if number >= 300]) >= 6


def test_the_answers_intents_take_turns() -> None:
    wealth, career = candidates(100, 4, "wealth"), candidates(200, 2, "career")
    never = [Candidate(300, "从没问过的", ())]
    assert [one.id for one in in_turns([*wealth, *career, *never])] == [100, 200, 300, 101, 201, 102, 103]


def test_fewer_than_a_page_are_all_shown_once() -> None:
    few = candidates(100, 5, "wealth")
    assert sorted(mix(few, few, Counter(), 20)) == [one.id for one in few]
    assert mix([], [], Counter(), 20) == []
