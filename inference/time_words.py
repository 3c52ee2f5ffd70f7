"""Expressions of time in a question, and what each of them means on the day it was asked.

One regular expression finds them from left to right; the function beside each pattern says which years are meant, or that it
only looks like a time: a birth year, an age, a duration, a pillar of a chart, an amount. Text is expected in the form of
`inference.time_intent.readable`. Every repetition is bounded, so that time grows with the length of the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from inference import look_alikes
from inference.look_alikes import ANIMALS, BRANCHES, PAIR, STEMS
from inference.numerals import COUNT, COUNTS, DIGIT, HAN, NOT_INSIDE, UP_TO_99, at_most, is_about, number
from schema.events import TimeIntentType

SOME: Final = 3
"""How many years 几年 means."""
OLDEST_ASKED: Final = 12
"""A year longer ago than this is taken for a year of birth."""
FARTHEST_ASKED: Final = 40
CENTURY_AHEAD: Final = 10
"""27年 is this century, but two digits of a year farther ahead are those of a birth in the last one."""
SOON: Final = 5
"""27年后 in 2026 is after the year 2027, which is no more than this ahead; 20年后 is in twenty years."""

_SOME: Final = ("几", "好几", "数", "若干", "些")
_SOME_OR: Final = f"{COUNTS}|{'|'.join(_SOME)}"
_NIAN: Final = " ?(?:年|nian[1-4]?)(?![轻龄级]|纪(?!念)|终奖)"
_YEAR: Final = f"(?:[二两贰][千仟][{HAN}十拾百佰]{{1,6}}|{DIGIT}{{4}}|{DIGIT}{{2}})"
_AND: Final = "(?: ?(?:[、,/~—–-]|和|跟|与|及|或者?|到|至|还是) ?| )"
_NAMED: Final = rf"(?:[( ]{{0,2}}{PAIR}\)?年?|[{ANIMALS}]年)?"
_DAY: Final = f"(?:初?{UP_TO_99}[日号]?|廿[{HAN}]?|[底末初])?"
_MONTH: Final = f"(?:[农阴阳公]历)?(?:{UP_TO_99}|[正冬腊])月份?{_DAY}"
_PART: Final = (
    f"(?:的?(?:全年|整年|[上下前后]半年|年?[底末尾初]|年中|年?内|[春夏秋冬][天季]|{_MONTH}|的?今[天日]"
    "|(?:过完?年|春节)(?:[以之过]?[前后])?|年?[以之过]?[前后](?![半面几年天悔途程景任夫妻男女])))?"
)
_MID_WORD: Final = f"(?<![0-9{HAN}两十百千万几数多半每周当那成幼童少青壮中老晚早今明去前后来本{BRANCHES}])"
"""Stands before a 年 that begins an expression: that of 年后 does, those of 三年后 and 成年后 do not."""

_DECADE: Final = re.compile(f"大运|步运|[{BRANCHES}]运")
"""Where one is spoken of, 这十年 is how long it lasts."""
_YEARS: Final = re.compile(_YEAR)
_FROM_TO: Final = re.compile("[到至~—–-]")


@dataclass(frozen=True, slots=True)
class Time:
    """What an expression means.

    Attributes:
        type: as answered.
        years: ascending, at least one.
        looks_back: it is told of rather than asked about, where there is something else.
        joins: neighbours may share its years; not so days and weeks.
        part: of a year, which a neighbour may name.
    """

    type: TimeIntentType
    years: list[int]
    looks_back: bool = False
    joins: bool = True
    part: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A match of a rule at ``text[start:end]``, and the groups of its pattern."""

    text: str
    start: int
    end: int
    groups: tuple[str | None, ...]

    @property
    def word(self) -> str:
        """The group that took part."""
        return next(group for group in self.groups if group is not None)

    def precedes(self, pattern: re.Pattern[str]) -> bool:
        """Whether `pattern` stands right after it."""
        return pattern.match(self.text, self.end) is not None

    def follows(self, pattern: re.Pattern[str]) -> bool:
        """Whether `pattern`, which ends in ``$``, stands right before it."""
        return pattern.search(self.text[max(0, self.start - 6) : self.start]) is not None

    @property
    def is_of_birth(self) -> bool:
        """Whether the words around it make it a time of birth."""
        return self.precedes(look_alikes.BORN) or self.follows(look_alikes.BORN_BEFORE)


Rule = Callable[[Read, date], Time | None]


def _nothing(_: Read, __: date) -> None:
    return None


def _specific(year: int, today: date) -> Time:
    return Time("specific_year", [year], looks_back=year < today.year)


def _offset(years: int) -> Rule:
    return lambda _, today: _specific(today.year + years, today)


def _span(first: int, last: int) -> Rule:
    return lambda _, today: Time("year_range", list(range(today.year + first, today.year + last + 1)))


def _this_year(_: Read, today: date) -> Time:
    return Time("this_year", [today.year])


def _next_year(_: Read, today: date) -> Time:
    return Time("next_year", [today.year + 1])


def _after_new_year(read: Read, today: date) -> Time:
    """After the Spring Festival: of this year while it may still come, in January and February."""
    return _this_year(read, today) if today.month <= 2 else _next_year(read, today)


def _part_of_year(read: Read, today: date) -> Time | None:
    """12月, 年底, 下半年: of this year, unless a neighbour says of which."""
    month = read.groups[0]
    if month is not None and (not 1 <= number(month) <= 12 or read.is_of_birth or read.follows(look_alikes.BORN_IN)):
        return None
    return Time("this_year", [today.year], part=True)


def _days(kind: TimeIntentType, ahead: int) -> Rule:
    def rule(_: Read, today: date) -> Time:
        day = min(today.toordinal() + ahead, date.max.toordinal())
        return Time(kind, [date.fromordinal(day).year], joins=False)

    return rule


def _months(ahead: int) -> Rule:
    def rule(_: Read, today: date) -> Time:
        years = (today.month - 1 + ahead) // 12
        kind: TimeIntentType = "specific_year" if years < 0 else "next_year" if years else "this_year"
        return Time(kind, [today.year + years], looks_back=ahead < 0)

    return rule


def _count(read: Read) -> int:
    """How many years; 0 for more than anyone asks about."""
    count = SOME if read.word in _SOME else at_most(read.word)
    return count if count <= FARTHEST_ASKED else 0


def _soon(read: Read, today: date) -> Time | None:
    """The year that NN in NN年后 or NN年内 names, if it does: see `SOON`."""
    word = read.word
    if len(word) != 2 or not word.isdecimal() or not int(word) % 5:
        return None
    year = 2000 + int(word)
    return _specific(year, today) if 0 < year - today.year <= SOON else None


def _future(read: Read, today: date) -> Time | None:
    count = _count(read)
    return Time("future_years", [today.year + i for i in range(1, count + 1)]) if count else None


def _within(read: Read, today: date) -> Time | None:
    return _soon(read, today) or _future(read, today)


def _last_years(count: int, today: date) -> Time:
    return Time("recent_years", [today.year - i for i in reversed(range(count))], looks_back=True)


def _recent(read: Read, today: date) -> Time | None:
    count = _count(read)
    if not count or (count == 10 and read.text[read.start] == "这" and _DECADE.search(read.text)):
        return None
    return _last_years(count, today)


def _later(read: Read, today: date) -> Time | None:
    count = _count(read)
    return _soon(read, today) or (_specific(today.year + count, today) if count else None)


def _passing(read: Read, today: date) -> Time | None:
    """再过两年 is one year, 过几年 are some."""
    return _future(read, today) if read.word in _SOME else _later(read, today)


def _earlier(read: Read, today: date) -> Time | None:
    count = _count(read)
    return _specific(today.year - count, today) if count else None


def _is_asked_about(year: int, today: date) -> bool:
    """Whether a year in figures is near enough to be asked about; others are those of births."""
    return today.year - OLDEST_ASKED <= year <= today.year + FARTHEST_ASKED


def several(years: Iterable[int], today: date) -> Time:
    """Some years, in any order, at least one."""
    ordered = sorted(set(years))
    return Time("year_range", ordered, looks_back=ordered[-1] < today.year)


def _year(text: str, today: date) -> int:
    """A year of two or four digits; two mean this century if that is near, else the last one."""
    value = number(text)
    if len(text) > 2:
        return value
    return 2000 + value if value <= today.year - 2000 + CENTURY_AHEAD else 1900 + value


def _written(read: Read, today: date) -> Time | None:
    """Years in figures: one, several, or from one to another."""
    words = read.word
    texts = _YEARS.findall(words)
    years = [_year(text, today) for text in texts]
    if len(texts[0]) == 2 and _lasts(read, texts, years, today):
        return None
    if "年" not in words and "nian" not in words and read.follows(look_alikes.AMOUNT_BEFORE):
        return None
    near = [year for year in years if _is_asked_about(year, today)]
    if not near or read.precedes(look_alikes.TO_BE_BORN):
        return None
    if max(near) <= today.year and read.is_of_birth:
        return None
    is_day = look_alikes.BIRTHDAY.search(read.text, read.start, read.end)
    if max(near) < today.year and (is_day or read.precedes(look_alikes.SIGN)):
        return None
    if len(years) == 2 and _FROM_TO.search(words):
        return several(range(years[0], years[1] + 1), today) if years == near and years[0] < years[1] else None
    return _specific(near[0], today) if len(near) == 1 else several(near, today)


def _lasts(read: Read, texts: list[str], years: list[int], today: date) -> bool:
    """Whether NN年 says how long. A year to come is a year unless marked; 20年, 30年 and 二三年 only where a clause begins."""
    if is_about(texts[0]):
        return years[0] > today.year or not read.follows(look_alikes.CLAUSE_BEGINS)
    if not texts[0].isdecimal():
        return False
    if read.follows(look_alikes.LASTING_BEFORE) or read.precedes(look_alikes.LASTING):
        return True
    doubtful = len(years) == 1 and (years[0] < today.year or years[0] % 10 == 0)
    return doubtful and (read.precedes(look_alikes.LASTING_BOND) or not read.follows(look_alikes.CLAUSE_BEGINS))


def _republic(read: Read, today: date) -> Time | None:
    year = 1911 + number(read.word)
    return _specific(year, today) if _is_asked_about(year, today) and not read.is_of_birth else None


def _sexagenary(read: Read, today: date) -> Time | None:
    """丁未年: the nearest not past; the last one where the next is a lifetime away (甲辰年 in 2026)."""
    stem, branch = STEMS.index(read.word[0]), BRANCHES.index(read.word[1])
    if (stem - branch) % 2 or read.is_of_birth or read.precedes(look_alikes.PILLAR):
        return None
    sign = look_alikes.SIGN.match(read.text, read.end)
    if sign and ANIMALS.index(sign[1]) == branch:
        return None
    place = next(i for i in range(60) if i % 10 == stem and i % 12 == branch)
    ahead = (place - (today.year - 4)) % 60
    year = today.year + (ahead if ahead <= FARTHEST_ASKED else ahead - 60)
    with_month = "月" in read.text[read.start : read.end]
    if not _is_asked_about(year, today) or (with_month and not today.year <= year <= today.year + 12):
        return None
    return _specific(year, today)


def _animal(read: Read, today: date) -> Time | None:
    ahead = (ANIMALS.index(read.word) - (today.year - 4)) % 12
    return None if read.is_of_birth else _specific(today.year + ahead, today)


_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    # how many years from now
    (
        rf"(?:未来|weilai|接下[来去]|今后|往后|[以之随]后|将来|(?<![婚业产术休职嫁分然最])后面?)的?这?({_SOME_OR})年(?!级)"
        r"(?:[之以]?内)?",
        _future,
    ),
    (rf"{NOT_INSIDE}(?!一年里|1年里)({_SOME_OR})年(?:[之以]?内|里)", _within),
    (r"(?<![岁天月])这一?整?年(?![头轻纪代份多])", _this_year),
    (
        rf"(?:最近|(?<![将接靠附])近来?|过去|(?<!年)(?<![年0-9],)这|(?<![提婚产])前)的?这?({_SOME_OR})年(?!级|前|生的)",
        _recent,
    ),
    (r"(?<![将接靠临])近年来?(?![底关末])", lambda _, today: _last_years(SOME, today)),
    (rf"(?<![超经度熬不走用做干当读])过({_SOME_OR})年(?!了)(?:[之以]?后)?", _passing),
    (rf"{NOT_INSIDE}({COUNT})年[之以]?后(?![半面年天])(?:的今天)?", _later),
    (rf"{NOT_INSIDE}({COUNT})年[之以]?前(?:的今天)?", _earlier),
    # years in figures, with another name of the year or the rest of a date after them
    (
        rf"{NOT_INSIDE}((?:{_YEAR}(?:年{_AND}?|{_AND})){{0,9}}{_YEAR} ?(?:年|nian[1-4]?))(?![级制代]){_NAMED}{_PART}",
        _written,
    ),
    (
        rf"{NOT_INSIDE}(?<![0-9][-./])(?<![a-z])((?:19|20)[0-9]{{2}}(?:{_AND}20[0-9]{{2}}){{0,9}}){look_alikes.NO_AMOUNT}"
        rf"(?:[-./][0-9]{{1,2}}(?:[-./][0-9]{{1,2}})?(?![0-9]))?{_NAMED}{_PART}",
        _written,
    ),
    (rf"民国([0-9]{{2,3}}|[{HAN}十拾百佰]{{2,6}})年{_PART}", _republic),
    # years by name
    (rf"(?:流年)?({PAIR})流?年{_PART}|流年({PAIR})(?![月日时])", _sexagenary),
    (rf"(?<!属)([{ANIMALS}])年(?![轻纪糕货]){_PART}", _animal),
    (r"今[、和]?明[、和]?后[这三3叁]{0,2}年", _span(0, 2)),
    (r"今[、和]?明这?[两二2]?年", _span(0, 1)),
    (r"明[、和]?后这?[两二2]?年", _span(1, 2)),
    (
        rf"今年[我他她]?(?:[也都就才刚快要满]|[刚正]好|已经|虚岁|周岁){{0,4}}(?:{UP_TO_99}多?周?岁"
        rf"|(?:[1-9][0-9]|(?!十一)[{HAN}]?十[{HAN}]?)多?(?:[了啦咯喽]|(?=[,.。!?;]|本命|$)))",
        _nothing,
    ),
    (rf"(?:大后|da4? ?hou4?){_NIAN}{_PART}", _offset(3)),
    (rf"(?:(?<![之以然最往今婚业职])后|hou4?){_NIAN}(?!薪){_PART}", _offset(2)),
    (rf"(?:大前|da4? ?qian2?){_NIAN}{_PART}", _offset(-3)),
    (rf"(?:(?<![之以从目眼])前|qian2?){_NIAN}{_PART}", _offset(-2)),
    (rf"(?:(?:去|上一|旧|昨|qu4?){_NIAN}|去岁|上年度|last year){_PART}", _offset(-1)),
    (
        rf"(?:(?:(?<![聪文证])明|(?<![后本原以年未从起出十百])来|下一|翌|(?<![好流运])转|(?<!突)出|ming2?|lai2?){_NIAN}|[明来开]春"
        rf"|下年度|next year){_PART}",
        _next_year,
    ),
    (
        r"翻过年|过[完了](?:年(?!关)|春节)(?:[之以]?后)?|(?:过年|春节|新年)[之以过]?后|新的一年|新年(?![快好])"
        rf"|(?<![离公])开年(?![轻迈纪])|{_MID_WORD}年[之以]?后(?!半)",
        _after_new_year,
    ),
    (rf"(?:(?:今|本|jin1?){_NIAN}|今[岁春夏秋冬]|this year){_PART}", _this_year),
    # parts of a year, months, days
    (
        rf"(?:过年|春节|{_MID_WORD}年)[之以]?前(?![途程年])|{_MID_WORD}年(?:[底末尾内]|中(?!奖))|岁末|[上下前后]半年"
        rf"|{NOT_INSIDE}({UP_TO_99})月份?{_DAY}(?![柱令支干半])",
        _part_of_year,
    ),
    (r"下下个?月", _months(2)),
    (r"下个月|(?<![一看])下月(?![柱令支干亮])|xia ?ge ?yue|next month", _months(1)),
    (r"上个月|上月(?![柱令支干亮份])", _months(-1)),
    (
        r"[这本]个?月(?![柱令支干])|当月|[本这]个?(?:周(?!年)|星期|礼拜)|(?<![正冬腊每])月[底末初]|周末|zhe ?ge ?yue|ben ?yue"
        r"|this month",
        _days("this_month", 0),
    ),
    (r"(?<!一)下个?(?:周|星期|礼拜)(?![公岁年易围])", _days("this_month", 7)),
    (r"大后天", _days("this_month", 3)),
    (r"(?<!先天)(?<!先天.)后天(?!努力|形成|培养|因素|环境|能?[改补]|的(?:还|吗|$))", _days("this_month", 2)),
    (r"明[天日儿早晚]|ming2? ?tian1?|tomorrow", _days("this_month", 1)),
    (r"今[天日儿晚早夜晨]|jin1? ?tian1?|today|tonight", _days("today", 0)),
)
_FIRST: Final = (
    f"[0-9o{HAN}两十拾{STEMS}{ANIMALS}几好数若些民流未接今往以之随将后这最近过前大去上旧昨明来下翌翻转出开新春年岁本当月周"
    "bdhjlmnqtwxz]"
)
"""What an expression may begin with. It is looked at before all the rules are, which alone makes them quick."""
_PATTERN: Final = re.compile(f"(?={_FIRST})(?:" + "|".join(f"({pattern})" for pattern, _ in _RULES) + ")")


def _by_group() -> dict[int, tuple[Rule, int]]:
    """The rule whose pattern is the n-th group of all, and how many groups are inside of it."""
    place, found = 1, {}
    for pattern, rule in _RULES:
        inner = re.compile(pattern).groups
        found[place] = (rule, inner)
        place += 1 + inner
    return found


_BY_GROUP: Final = _by_group()


def expressions(text: str, today: date) -> Iterator[tuple[int, int, Time]]:
    """From left to right: where each expression of time begins and ends, and what it means."""
    for match in _PATTERN.finditer(text):
        place = match.lastindex
        assert place is not None
        rule, inner = _BY_GROUP[place]
        time = rule(Read(text, match.start(), match.end(), match.groups()[place : place + inner]), today)
        if time is not None:
            yield match.start(), match.end(), time
