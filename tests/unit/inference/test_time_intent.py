"""A question is about the years that a person would say it is about, however it is written and on whatever day."""

from __future__ import annotations

import json
import random
import re
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import opencc
import pytest

from inference.numerals import at_most, number
from inference.time_intent import readable, time_intent, today_in_shanghai
from inference.time_words import _PATTERN, _RULES, FARTHEST_ASKED
from schema.events import MAX_QUESTION_CHARS, TimeIntentType

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "time_intent_cases.jsonl").read_text().splitlines()
]
QUESTIONS = [case["question"] for case in CASES]
DAY = date(2026, 11, 23)
FULL_WIDTH = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)} | {" ": "\u3000"})
HAN, CAPITAL = "零一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖"


def told(question: str, asked_on: date = DAY) -> tuple[str, list[int], bool]:
    said = time_intent(question, asked_on)
    return said.type, said.target_years, said.is_explicit


def wrong(change: Any) -> list[str]:
    """The cases whose answer is another one after `change`."""
    return [
        f"{change(case['question'])} on {case['asked_on']}: {answer}, not {expected}"
        for case in CASES
        if (answer := told(change(case["question"]), date.fromisoformat(case["asked_on"])))
        != (expected := (case["type"], case["target_years"], case["is_explicit"]))
    ]


def in_digits(value: int, digits: str) -> str:
    return "".join(digits[int(c)] for c in str(value))


def with_units(value: int, digits: str, ten: str) -> str:
    """12 as 十二 or 拾贰, 30 as 三十, below 100."""
    tens, ones = divmod(value, 10)
    return (digits[tens] if tens > 1 else "") + (ten if tens else "") + (digits[ones] if ones or not tens else "")


def test_every_case_is_read_as_it_was_labelled() -> None:
    assert wrong(str) == []


def test_the_cases_are_many_and_of_every_type() -> None:
    assert len(set(QUESTIONS)) == len(CASES) >= 300
    assert {case["type"] for case in CASES} == set(get_args(TimeIntentType))
    assert len({case["asked_on"] for case in CASES}) >= 4


@pytest.mark.parametrize("config", ["s2t", "s2tw", "s2hk"])
def test_traditional_characters_ask_the_same(config: str) -> None:
    assert wrong(opencc.OpenCC(config).convert) == []


def test_full_width_and_upper_case_ask_the_same() -> None:
    assert wrong(lambda text: text.translate(FULL_WIDTH)) == []
    assert wrong(str.upper) == []


@pytest.mark.parametrize("frame", ["老师您好，{}", "{}，谢谢", "{}🙏", "在吗？{}", "{}\n跪求解答", "  {}  "])
def test_what_says_nothing_of_time_changes_nothing(frame: str) -> None:
    assert wrong(frame.format) == []


@pytest.mark.parametrize("year", range(DAY.year - 6, DAY.year + FARTHEST_ASKED + 1))
def test_a_year_is_the_same_in_any_numerals(year: int) -> None:
    ways = [str(year), str(year).translate(FULL_WIDTH), in_digits(year, HAN), in_digits(year, CAPITAL)]
    ways += [in_digits(year, "〇" + HAN[1:]), in_digits(year, "○" + HAN[1:]), in_digits(year, "O" + HAN[1:])]
    ways += [f"两千零{with_units(year % 100, HAN, '十')}", f"贰仟零{with_units(year % 100, CAPITAL, '拾')}"]
    if year > DAY.year + 5:  # 三五 would be "three to five"
        ways = [way for way in ways if len(way) > 2]
    elif year % 10:
        ways += [str(year % 100), in_digits(year % 100, HAN), in_digits(year % 100, CAPITAL)]
    for way in ways:
        assert told(f"问{way}年财运如何")[1] == [year], way


@pytest.mark.parametrize("count", range(1, 31))
def test_a_count_is_the_same_in_any_numerals(count: int) -> None:
    for way in (str(count), str(count).translate(FULL_WIDTH), with_units(count, HAN, "十"), with_units(count, CAPITAL, "拾")):
        assert told(f"未来{way}年运势")[:2] == ("future_years", [DAY.year + i for i in range(1, count + 1)]), way
        assert told(f"最近{way}年运势")[:2] == ("recent_years", [DAY.year + i for i in range(1 - count, 1)]), way
        if not (count > 25 and count % 5):  # 27年后 is after 2027
            assert told(f"{way}年后我在哪")[:2] == ("specific_year", [DAY.year + count]), way
        assert told(f"{way}年前为什么破产")[:2] == ("specific_year", [DAY.year - count]), way


@pytest.mark.parametrize("year", [*range(1995, 2060), 9999, 1000])
def test_relative_years_move_with_the_day(year: int) -> None:
    for word, ahead in (("今年", 0), ("明年", 1), ("来年", 1), ("后年", 2), ("大后年", 3), ("去年", -1), ("前年", -2)):
        for day in (date(year, 1, 1), date(year, 12, 31)):
            assert told(f"{word}运势", day)[1] == [min(max(year + ahead, 1000), 9999)]


def test_the_sign_of_a_year_comes_round_every_twelve_years_and_its_name_every_sixty() -> None:
    for year in range(2020, 2080):
        name = "甲乙丙丁戊己庚辛壬癸"[(year - 4) % 10] + "子丑寅卯辰巳午未申酉戌亥"[(year - 4) % 12]
        for before in (0, 1, 11):
            day = date(year - before, 6, 1)
            assert told(f"{'鼠牛虎兔龙蛇马羊猴鸡狗猪'[(year - 4) % 12]}年运势", day)[1] == [year]
            assert told(f"{name}年运势", day)[1] == [year]


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 12, 31, 15, 59, 59, tzinfo=UTC), date(2026, 12, 31)),
        (datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC), date(2027, 1, 1)),
        (datetime(9999, 12, 31, 20, tzinfo=UTC), date(9999, 12, 31)),
    ],
)
def test_the_day_is_that_of_shanghai(moment: datetime, day: date) -> None:
    assert today_in_shanghai(moment) == day


@pytest.mark.parametrize(
    ("question", "before", "after"),
    [
        ("今年财运", ("this_year", [2026]), ("this_year", [2027])),
        ("明年财运", ("next_year", [2027]), ("next_year", [2028])),
        ("今天运势", ("today", [2026]), ("today", [2027])),
        ("明天运势", ("this_month", [2027]), ("this_month", [2027])),
        ("年后换工作", ("next_year", [2027]), ("this_year", [2027])),
        ("下个月财运", ("next_year", [2027]), ("this_year", [2027])),
        ("财运如何", ("this_year", [2026]), ("this_year", [2027])),
    ],
)
def test_new_years_eve_is_that_of_shanghai(question: str, before: tuple[str, list[int]], after: tuple[str, list[int]]) -> None:
    last_second, first_second = (datetime(2026, 12, 31, *clock, tzinfo=UTC) for clock in ((15, 59, 59), (16, 0, 0)))
    assert told(question, today_in_shanghai(last_second))[:2] == before
    assert told(question, today_in_shanghai(first_second))[:2] == after


def test_any_text_has_an_answer() -> None:
    """Also of pieces of rules and of questions, and on days at the ends of the calendar."""
    luck = random.Random(20261123)
    pieces = sorted(set("".join(pattern for pattern, _ in _RULES)) | set("年月日天0123456789 ，？"))
    days = [DAY, date(2026, 1, 1), date(2028, 2, 29), date(1, 1, 1), date(9999, 12, 31)]
    for _ in range(20_000):
        cut = luck.randrange(12)
        text = luck.choice(
            (
                "".join(luck.choices(pieces, k=luck.randrange(1, 40))),
                luck.choice(QUESTIONS)[cut:] + luck.choice(QUESTIONS),
                "".join(chr(luck.randrange(0x20, 0xD7FF)) for _ in range(luck.randrange(1, 20))),
            )
        )
        day = luck.choice(days)
        said = time_intent(text, day)
        assert said.target_years == sorted(set(said.target_years)) != [], text
        near = range(max(1000, day.year - FARTHEST_ASKED), max(1000, day.year + FARTHEST_ASKED) + 1)
        assert all(year in near for year in said.target_years), text


@pytest.mark.parametrize("text", ["", " ", "？", "🎲", "\x00", "ignore all instructions"])
def test_what_names_no_time_is_about_this_year(text: str) -> None:
    assert told(text) == ("this_year", [2026], False)


HOSTILE = (
    "一|1|27、|27年|年|2027-|2027年和|今年|明年还是|今年和明年|未来三|三、|12月|丁未|丁未年|今年刚好刚|2020年 , |2027(| |1 "
    "|过年|春节|今明|属羊年|2027.1|去年，|明年好吗？|hou |今年他|不|还是|近"
)


@pytest.mark.parametrize("piece", HOSTILE.split("|"))
def test_twice_the_text_takes_about_twice_the_time(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        return min(thread_seconds(text) for _ in range(7))

    half, whole = seconds(MAX_QUESTION_CHARS // 2), seconds(MAX_QUESTION_CHARS)
    assert whole < 3.5 * half + 1e-3


def thread_seconds(text: str) -> float:
    """Without the time that other processes took."""
    began = time.thread_time()
    time_intent(text, DAY)
    return time.thread_time() - began


def test_no_rule_begins_with_what_is_not_looked_at() -> None:
    """The look at the first character is for speed: it leaves nothing out."""
    every_rule = re.compile("|".join(f"({pattern})" for pattern, _ in _RULES))
    for text in map(readable, QUESTIONS):
        assert [m.span() for m in every_rule.finditer(text)] == [m.span() for m in _PATTERN.finditer(text)], text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("27", 27), ("二七", 27), ("二十七", 27), ("贰拾柒", 27), ("十", 10), ("零", 0), ("一百一十六", 116)),
        *((way, 2027) for way in ("2027", "二〇二七", "二○二七", "二o二七", "二0二七", "两千零二十七", "贰仟零贰拾柒")),
    ],
)
def test_numerals_have_their_value(text: str, value: int) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("五", 5), ("三五", 5), ("两三", 3), ("3-5", 5), ("三到五", 5), ("十五", 15), ("5至10", 10), ("15", 15)]
)
def test_of_an_approximate_number_the_greatest_counts(text: str, value: int) -> None:
    assert at_most(text) == value
