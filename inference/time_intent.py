"""Which years a question asks about, by rules, relative to the day it was asked on in Shanghai.

One regular expression finds every expression of time from left to right; what only looks like one (birth years, ages,
durations, pillars of a chart) is found too and passed over. Of several expressions the last one is what is asked, unless it
looks back and an earlier one does not: 明年能比去年好吗 asks about next year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from schema.events import TimeIntent, TimeIntentType
from schema.text import simplify

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
STEMS: Final = "甲乙丙丁戊己庚辛壬癸"
BRANCHES: Final = "子丑寅卯辰巳午未申酉戌亥"
ANIMALS: Final = "鼠牛虎兔龙蛇马羊猴鸡狗猪"
SOME: Final = 3
"""How many years 几年 means."""
OLDEST_ASKED: Final = 12
"""A year longer ago than this is taken for a year of birth."""
FARTHEST_ASKED: Final = 40

_DIGITS: Final = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_NUMERAL: Final = "零〇一二三四五六七八九十两"
_N: Final = rf"(?:\d{{1,2}}|[{_NUMERAL}]{{1,3}})"
_YEAR: Final = rf"(?:\d{{4}}|\d{{2}}|[{_NUMERAL}]{{4}}|[{_NUMERAL}]{{2}})"
_MONTH: Final = rf"{_N}月份?(?:{_N}[日号])?"
_PART: Final = rf"(?:的?(?:上半年|下半年|年?底|年?初|年末|春天|夏天|秋天|冬天|{_MONTH}))?"
_BORN: Final = r"(?:出生|生人|生的|生日|生,|生，|生$|[那]?年?属|的属|的男|的女|的人|男|女|农历|阴历|阳历|公历)"


@dataclass(frozen=True, slots=True)
class _Found:
    """An expression of time: its type and years, and whether it looks back."""

    type: TimeIntentType
    years: list[int]
    looks_back: bool = False


Rule = Callable[[re.Match[str], date], _Found | None]


def number(text: str) -> int:
    """The value of digits or Chinese numerals below 100, or of a year read digit by digit (二零二七)."""
    if text.isdecimal():
        return int(text)
    if "十" in text:
        tens, _, units = text.partition("十")
        return 10 * _DIGITS.get(tens, 1) + (_DIGITS[units] if units else 0)
    return int("".join(str(_DIGITS[c]) for c in text))


def _year(text: str, today: date) -> int:
    """A year written with two or four digits; two digits mean this century if that is near, else the last one."""
    value = number(text)
    if value >= 100:
        return value
    return 2000 + value if value <= today.year - 2000 + FARTHEST_ASKED else 1900 + value


def _nothing(_: re.Match[str], __: date) -> None:
    return None


def _specific(year: int, today: date) -> _Found:
    return _Found("specific_year", [year], looks_back=year < today.year)


def _offset(years: int) -> Rule:
    return lambda _, today: _specific(today.year + years, today)


def _this(kind: TimeIntentType, days: int = 0) -> Rule:
    return lambda _, today: _Found(kind, [(today + timedelta(days=days)).year])


def _next_year(_: re.Match[str], today: date) -> _Found:
    return _Found("next_year", [today.year + 1])


def _after_new_year(_: re.Match[str], today: date) -> _Found:
    """After the Spring Festival: of this year while it may still come, in January and February."""
    return _Found("this_year", [today.year]) if today.month <= 2 else _Found("next_year", [today.year + 1])


def _next_month(_: re.Match[str], today: date) -> _Found:
    return _Found("this_year", [today.year]) if today.month < 12 else _Found("next_year", [today.year + 1])


def _count(match: re.Match[str]) -> int:
    text = next(group for group in match.groups() if group is not None)
    return SOME if text in {"几", "多少"} else number(text)


def _future(match: re.Match[str], today: date) -> _Found | None:
    count = _count(match)
    return _Found("future_years", [today.year + i for i in range(1, count + 1)]) if 0 < count <= FARTHEST_ASKED else None


def _recent(match: re.Match[str], today: date) -> _Found | None:
    count = _count(match)
    years = [today.year - i for i in reversed(range(count))]
    return _Found("recent_years", years) if 0 < count <= FARTHEST_ASKED else None


def _later(match: re.Match[str], today: date) -> _Found | None:
    count = _count(match)
    return _specific(today.year + count, today) if 0 < count <= FARTHEST_ASKED else None


def _earlier(match: re.Match[str], today: date) -> _Found | None:
    count = _count(match)
    return _specific(today.year - count, today) if 0 < count <= FARTHEST_ASKED else None


def _range(match: re.Match[str], today: date) -> _Found | None:
    first, last = (_year(text, today) for text in match.groups() if text is not None)
    if not 0 < last - first <= FARTHEST_ASKED:
        return None
    return _Found("year_range", list(range(first, last + 1)), looks_back=last < today.year)


def _span(first: int, last: int) -> Rule:
    return lambda _, today: _Found("year_range", list(range(today.year + first, today.year + last + 1)))


def _written(match: re.Match[str], today: date) -> _Found | None:
    year = _year(next(group for group in match.groups() if group is not None), today)
    if not today.year - OLDEST_ASKED <= year <= today.year + FARTHEST_ASKED:
        return None
    return _specific(year, today)


def _sexagenary(match: re.Match[str], today: date) -> _Found | None:
    name = match.group()
    stem, branch = STEMS.index(name[0]), BRANCHES.index(name[1])
    if (stem - branch) % 2:
        return None  # such a pair does not exist
    place = next(i for i in range(60) if i % 10 == stem and i % 12 == branch)
    return _specific(today.year + (place - (today.year - 4)) % 60, today)


def _animal(match: re.Match[str], today: date) -> _Found:
    place = ANIMALS.index(match.group()[0])
    return _specific(today.year + (place - (today.year - 4)) % 12, today)


_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    # what only looks like a time that is asked about
    (rf"{_YEAR}年?(?:{_MONTH})?的?{_BORN}", _nothing),
    (rf"{_YEAR}年{_MONTH}[日号]?.{{0,6}}?(?:出生|生人|生的|[早中晚凌][上午晨]?{_N}点|时)", _nothing),
    (rf"(?:生于|出生于|出生在|生在|我是|本人){_YEAR}年?(?:{_MONTH})?", _nothing),
    (rf"[{STEMS}][{BRANCHES}](?:年[柱生]|[月日时][柱主]?|大?运)", _nothing),
    (rf"(?:属[{ANIMALS}]|[{ANIMALS}]年(?:出生|生))", _nothing),
    (rf"{_N}多?年(?:了|没|多|来|间|时间|之久|以上|之前的?老)", _nothing),
    (r"本命年|[成少青中老童]年|周年|年[纪龄轻级货终]|流年|逢年|年年|多年|每年|全年无", _nothing),
    # several years
    (rf"({_YEAR})年?(?:到|至|-|~|—|～)({_YEAR})年", _range),
    (r"今年?[、和跟与到]?明年?[、和跟与到]?后(?:三|3|这?三)?年", _span(0, 2)),
    (r"今明[两二2]?年|今年?[、和跟与到及]?明年|这两年和明年", _span(0, 1)),
    (r"明后[两二2]?年|明年?[、和跟与到及]?后年", _span(1, 2)),
    (rf"(?:未来|接下来|今后|往后|以后|将来|之后|后)的?这?({_N}|几)年", _future),
    (rf"({_N}|几)年(?:之内|以内|内|里)", _future),
    (rf"(?:最近|近|过去|这|前)的?这?({_N}|几)年", _recent),
    (rf"(?<![\d{_NUMERAL}])({_N})年(?:之后|以后|后)", _later),
    (rf"(?<![\d{_NUMERAL}])({_N})年(?:之前|以前|前)", _earlier),
    # one year by name
    (rf"大后年{_PART}", _offset(3)),
    (rf"(?:后年|hounian){_PART}", _offset(2)),
    (rf"大前年{_PART}", _offset(-3)),
    (rf"前年{_PART}", _offset(-2)),
    (rf"(?:去年|上一?年|旧年|qunian){_PART}", _offset(-1)),
    (rf"(?:明年|来年|下一年|翌年|转年|出年|mingnian|next year){_PART}", _next_year),
    (r"(?:过完?年|春节|年)(?:之后|以后|后)|过完年|开年", _after_new_year),
    (rf"(?:今年|本年|今岁|当年|jinnian|this year){_PART}", _this("this_year")),
    (rf"({_YEAR})年(?!柱){_PART}", _written),
    (r"(?<!\d)(20[1-6]\d)(?![\d元块万])", _written),
    (rf"[{STEMS}][{BRANCHES}]年(?![柱生])", _sexagenary),
    (rf"[{ANIMALS}]年(?![生柱])", _animal),
    # days and months
    (r"今天|今日|今儿|今晚|今早|今夜|jintian|today", _this("today")),
    (r"大后天", _this("this_month", 3)),
    (r"后天", _this("this_month", 2)),
    (r"明天|明日|明儿|明早|明晚|mingtian", _this("this_month", 1)),
    (r"这个?月|本月|当月|[本这]个?(?:周|星期|礼拜)|月[底末]|周末", _this("this_month")),
    (r"下个?月", _next_month),
    (rf"年[底末内]|[上下]半年|{_N}月份?(?![柱令])", _this("this_year")),
)
_NAMES: Final = tuple(f"r{i}" for i in range(len(_RULES)))


def _combined() -> re.Pattern[str]:
    """All rules as one alternation; groups of a rule keep their order, a named group tells which rule it was."""
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, (pattern, _) in zip(_NAMES, _RULES, strict=True)))


_PATTERN: Final = _combined()
_SINGLE: Final = {name: (re.compile(pattern), rule) for name, (pattern, rule) in zip(_NAMES, _RULES, strict=True)}


def time_intent(question: str, asked_on: date) -> TimeIntent:
    """Which years `question` asks about.

    Args:
        question: as it was typed; any script, width or case.
        asked_on: the day in Shanghai, see `today_in_shanghai`.
    """
    found = list(_expressions(simplify(question), asked_on))
    if not found:
        return TimeIntent(type="this_year", target_years=[asked_on.year], description="未指明", is_explicit=False)
    asked = [one for one in found if not one[1].looks_back] or found
    words, chosen = asked[-1]
    return TimeIntent(type=chosen.type, target_years=chosen.years, description=words, is_explicit=True)


def _expressions(text: str, today: date) -> Iterator[tuple[str, _Found]]:
    for match in _PATTERN.finditer(text):
        assert match.lastgroup is not None
        pattern, rule = _SINGLE[match.lastgroup]
        inner = pattern.match(text, match.start())
        assert inner is not None
        one = rule(inner, today)
        if one is not None:
            yield match.group(), one


def today_in_shanghai(moment: datetime | None = None) -> date:
    """The calendar day in Shanghai at `moment` (aware; default: now)."""
    return (moment or datetime.now(UTC)).astimezone(SHANGHAI).date()
