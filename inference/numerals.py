"""Numbers as people write them: 27, 二十七, 二七, 贰拾柒, 二〇二七, 二o二七, 两千零二十七.

Text is expected as `schema.text.simplify` leaves it: half width, lower case, simplified characters.
"""

from __future__ import annotations

import re
from typing import Final

_VALUES: Final = {c: i for row in ("零一二三四五六七八九", "〇壹贰叁肆伍陆柒捌玖", "0123456789") for i, c in enumerate(row)}
_VALUES.update({"○": 0, "o": 0, "两": 2, "参": 3})
_UNITS: Final = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}

HAN: Final = "零〇○一二三四五六七八九壹贰叁参肆伍陆柒捌玖"
"""Characters for one digit. 两 is none of them: it counts, but no year and no month is written with it."""
DIGIT: Final = f"[0-9o{HAN}]"
NOT_INSIDE: Final = f"(?<![0-9.{HAN}两十拾百佰千仟])"
"""No number is under way here."""
UP_TO_99: Final = f"(?:[0-9]{{1,2}}|[{HAN}]?[十拾][{HAN}]?|[{HAN}])"
_ABOUT: Final = "一[二两]|[两二]三|三[四五]|四五|五六|六七|七八|八九"
COUNT: Final = f"(?:{_ABOUT}|{UP_TO_99}|两)"
"""How many, below 100; 三五 is "three to five", and no number of two digits."""
COUNTS: Final = f"(?:{COUNT}[到至或、~-])?{COUNT}"
"""How many, or from how many to how many."""
_COUNT: Final = re.compile(COUNT)
_IS_ABOUT: Final = re.compile(_ABOUT)


def number(text: str) -> int:
    """The value of digits (read one by one, as in a year) or of numerals with units.

    Raises:
        KeyError: a character is neither.
    """
    if _UNITS.keys().isdisjoint(text):
        return int("".join(str(_VALUES[c]) for c in text))
    total = digit = 0
    for c in text:
        if c in _UNITS:
            total += (digit or 1) * _UNITS[c]
            digit = 0
        else:
            digit = _VALUES[c]
    return total + digit


def is_about(text: str) -> bool:
    """Whether `text` is two neighbouring digits: 三五, "three to five"."""
    return _IS_ABOUT.fullmatch(text) is not None


def at_most(text: str) -> int:
    """The greatest number that `text`, a match of `COUNTS`, may mean: 5 for 三五, 3-5 and 五."""
    last = _COUNT.findall(text)[-1]
    return number(last[-1] if is_about(last) else last)
