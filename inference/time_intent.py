"""Which years a question asks about, by rules, relative to the day it was asked on in Shanghai.

Its expressions of time (`inference.time_words`) are read from left to right. Neighbours that belong together become one:
今年还是明年, 2027年1月到2028年6月, 明年羊年, 明年上半年还是下半年. Of what is left, one is asked about: what stands in a question
before what is told, what may still come before what is gone or only serves as a measure (明年能比去年好吗 asks about next
year), and of equals the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from inference.time_words import Time, expressions, several
from schema.events import TimeIntent
from schema.text import simplify

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
FIRST_YEAR: Final = 1000
LAST_YEAR: Final = 9999
"""Years that an answer can hold."""

_TONED: Final = re.compile("[āáǎàēéěèīíǐìōóǒòūúǔù]")
_TONES: Final = str.maketrans("āáǎàēéěèīíǐìōóǒòūúǔù", "aaaaeeeeiiiioooouuuu")
_SPACED_NUMBER: Final = re.compile(r"(?<=[0-9])\s+(?![0-9\s])|(?<![0-9\s])\s+(?=[0-9])")

# Between two expressions: both are meant; all from one to the other; a name for the same; the second is part of the first.
_BOTH: Final = re.compile(
    " ?(?:[、/&+]|和|跟|与|及|同|或者?|以及|还有|要么|or|he2?|gen1?|haishi)? ?"
    "|[^,.。!?;了没不]{0,8}[,?]?还是(?:[等拖到在选推放留再要]|等到|拖到)?"
)
_COMPARED: Final = re.compile("[^,.。!?;]{1,6}[和跟与]")
_WHICH: Final = re.compile("[^,.。!?;]{0,8}(?:哪|对比|比较|分别|各)")
_LIST_BEGINS: Final = re.compile("(?:^|[,.。!?;: 问看算测下])$")
_FROM_TO: Final = re.compile(" ?(?:到|至|直到|[~—–-]) ?")
_SAME: Final = re.compile("[ ,(]{0,2}(?:也?就?是|即)?[ ,(]{0,2}")
_PART: Final = re.compile("[^.。!?;]{0,16}(?:尤其|特别|主要|重点)[是看]?")
# What is asked, what is told, and what another time is measured by or told from.
_ASKED: Final = re.compile(
    r"[吗么呢嘛?问测算求咋啥哪]|什么|怎样|怎么|如何|几时|何时|多少|[能是可]否|(.)[不没]\1|[不没否]$|想知道|看看|看下|还是|适合"
)
_TOLD: Final = re.compile("了|过$|一直|总是|太|已经|刚|不顺|不好$")
_MEASURE_BEFORE: Final = re.compile("(?:比起?|相较|较|相比|像|(?:不是|不问|不看|别看|不要)[问看说]?|除了?|[熬度]?过了?)$")
_WITH: Final = re.compile("[和跟与同像]$")
_MEASURE_AFTER: Final = re.compile("相?比(?!较)|一样|差不多|似的")
_CLAUSE_END: Final = re.compile(r"[,.。!?;\n]")


@dataclass(frozen=True, slots=True)
class _Found:
    """A time, and where its expression stands."""

    start: int
    end: int
    time: Time


def readable(text: str) -> str:
    """`text` simplified (see `schema.text`), without tone marks and without spaces around numbers."""
    simple = simplify(text)
    if _TONED.search(simple):
        simple = simple.translate(_TONES)
    return _SPACED_NUMBER.sub("", simple)


def time_intent(question: str, asked_on: date) -> TimeIntent:
    """Which years `question` asks about.

    Args:
        question: as it was typed; any script, width or case.
        asked_on: the day in Shanghai, see `today_in_shanghai`.

    Returns:
        Years ascending, at least one. ``is_explicit`` is false where the question names no time, then it is this year.
    """
    text = readable(question)
    found = _joined(text, asked_on)
    if not found:
        return _answer(Time("this_year", [asked_on.year]), "未指明", is_explicit=False)
    asked = found[0] if len(found) == 1 else _asked(text, found)
    return _answer(asked.time, text[asked.start : asked.end], is_explicit=True)


def _answer(time: Time, words: str, *, is_explicit: bool) -> TimeIntent:
    years = [year for year in time.years if FIRST_YEAR <= year <= LAST_YEAR] or [min(max(time.years[0], FIRST_YEAR), LAST_YEAR)]
    return TimeIntent(type=time.type, target_years=years, description=words[:200], is_explicit=is_explicit)


def _joined(text: str, today: date) -> list[_Found]:
    """The times in `text`, where neighbours that belong together are one."""
    found: list[_Found] = []
    for start, end, time in expressions(text, today):
        both = _together(text, found[-1], _Found(start, end, time), today) if found else None
        if both is None:
            found.append(_Found(start, end, time))
        else:
            found[-1] = _Found(found[-1].start, end, both)
    return found


def _together(text: str, first: _Found, second: _Found, today: date) -> Time | None:
    """What two neighbours mean as one, or None where each stands for itself."""
    one, other = first.time, second.time
    left = text[max(0, first.start - 6) : first.start]
    if not (one.joins and other.joins) or _MEASURE_BEFORE.search(left) or _MEASURE_AFTER.match(text, second.end):
        return None
    between = text[first.end : second.start]
    both = (
        _BOTH.fullmatch(between)
        or (between == "," and _LIST_BEGINS.search(left))
        or (_COMPARED.fullmatch(between) and _WHICH.match(text, second.end))
    )
    from_to = _FROM_TO.fullmatch(between)
    if one.years == other.years or other.part:
        return one if both or from_to or (_PART if other.part else _SAME).fullmatch(between) else None
    if from_to and one.years[0] < other.years[-1]:
        return several(range(one.years[0], other.years[-1] + 1), today)
    return several([*one.years, *other.years], today) if both else None


def _asked(text: str, found: list[_Found]) -> _Found:
    """The one of `found` that is asked about: see the module's docstring."""
    ends = [0, *(one.end for one in found)]
    starts = [*(one.start for one in found[1:]), len(text)]
    ranked = [
        (_rank(text[end : one.start], text[one.end : start], one.time), place)
        for place, (end, one, start) in enumerate(zip(ends, found, starts, strict=False))
    ]
    return found[max(ranked)[1]]


def _rank(before: str, after: str, time: Time) -> tuple[bool, bool, int]:
    """How much a time is asked about, by what stands between it and its neighbours."""
    left = _CLAUSE_END.split(before)[-1]
    right = _CLAUSE_END.split(after, maxsplit=1)[0]
    is_measure = _MEASURE_BEFORE.search(left) or (_WITH.search(left) and _MEASURE_AFTER.match(right))
    is_asked = after[len(right) : len(right) + 1] == "?" or _ASKED.search(left + right)
    asked = 2 if is_asked else 0 if _TOLD.search(right) else 1
    return asked > 0, not (time.looks_back or is_measure), asked


def today_in_shanghai(moment: datetime | None = None) -> date:
    """The calendar day in Shanghai at `moment` (aware; default: now)."""
    try:
        return (moment or datetime.now(UTC)).astimezone(SHANGHAI).date()
    except OverflowError:  # the last hours of the year 9999 are after it in Shanghai
        return date.max
