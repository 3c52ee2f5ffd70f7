"""Masking of identifiers in text, and keyed pseudonyms for users and sessions.

Masked: mobile and landline numbers, resident ID cards (GB 11643), bank cards (Luhn and a known first digit, or a word that
says so), e-mail addresses. Digits may be full-width or grouped by blanks and dashes. The longest kind is looked for first,
so that an ID card is never taken for a phone number.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_GAP: Final = r"[ \-.·]?"


@dataclass(frozen=True, slots=True)
class Found:
    """One masked identifier: its kind, and where it stood in the original text (end excluded)."""

    type: str
    start: int
    end: int


_EMAIL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,4}")
_DIGIT_RUN: Final = re.compile(rf"(?<![A-Za-z0-9])\+?\d(?:{_GAP}\d){{6,21}}{_GAP}[Xx]?(?![A-Za-z0-9])")
_MOBILE: Final = re.compile(r"(?:(?:\+|00)?86)?1[3-9]\d{9}")
_LANDLINE: Final = re.compile(r"(?:0\d{2,3}\d{7,8}|[48]00\d{7})")
_ID_CARD: Final = re.compile(r"[1-9]\d{5}(?:(?:19|20)\d{2})(\d{2})(\d{2})\d{3}[\dXx]")
_ID_CARD_15: Final = re.compile(r"[1-9]\d{5}\d{2}(\d{2})(\d{2})\d{3}")
_BANK_WORDS: Final = re.compile(r"卡号|银行|账号|帐号|尾号|信用卡|储蓄卡")
_ZERO_WIDTH: Final = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


def _luhn(digits: str) -> bool:
    """Whether `digits` pass the Luhn check of ISO/IEC 7812."""
    doubled = [sum(divmod(2 * int(d), 10)) if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _kind(run: str, context: str) -> str | None:
    """What the bare digits `run` are, or None: an amount, an order number, a date."""
    if (m := _ID_CARD.fullmatch(run)) or (m := _ID_CARD_15.fullmatch(run)):
        month, day = int(m[1]), int(m[2])
        if 1 <= month <= 12 and 1 <= day <= 31:
            return "ID_CARD"
    if _MOBILE.fullmatch(run):
        return "PHONE"
    if run.isdigit() and 13 <= len(run) <= 19 and (_BANK_WORDS.search(context) or (run[0] in "3456" and _luhn(run))):
        return "BANK_CARD"
    if _LANDLINE.fullmatch(run):
        return "LANDLINE"
    return None


_MAY_HOLD: Final = re.compile(
    r"[@\uff20\u200b-\u200d\u2060\ufeff]|(?:[\d\u00b2\u00b3\u00b9\u2070-\u2089\u2460-\u24ff].{0,3}?){7}", re.DOTALL
)
"""What no text with an identifier lacks: an at sign, or seven digits of any script or shape with little between them; or a
zero-width character, of which any number may stand between digits."""


def find(text: str) -> list[Found]:
    """The identifiers in `text`, in order and without overlap. Linear in the length of the text."""
    if not _MAY_HOLD.search(text):
        return []
    folded, offsets = _fold(text)
    found: list[Found] = []
    taken = 0
    for kind, start, end in sorted([*_emails(folded), *_numbers(folded)], key=lambda f: (f[1], -f[2])):
        if (begin := max(start, taken)) < end:
            found.append(Found(kind, offsets[begin], offsets[end - 1] + 1))
            taken = end
    return found


def _emails(text: str) -> Iterator[tuple[str, int, int]]:
    return (("EMAIL", m.start(), m.end()) for m in _EMAIL.finditer(text))


def _numbers(text: str) -> Iterator[tuple[str, int, int]]:
    for m in _DIGIT_RUN.finditer(text):
        run = re.sub(r"[^0-9Xx]", "", m[0]).upper()
        start, end = m.start(), m.start() + len(m[0].rstrip(" -.·"))
        kind = _kind(run, text[max(0, m.start() - 12) : m.start()])
        if kind is None and run.endswith("X"):
            kind = _kind(run[:-1], "")
            end -= 1
        if kind:
            yield kind, start, end


def _fold(text: str) -> tuple[str, list[int]]:
    """`text` with full-width characters narrowed and zero-width ones gone, and for each character its old offset."""
    if text.isascii():
        return text, list(range(len(text)))
    kept, offsets = [], []
    for i, character in enumerate(text):
        if ord(character) in _ZERO_WIDTH:
            continue
        narrow = unicodedata.normalize("NFKC", character)
        kept.append(narrow if len(narrow) == 1 else character)
        offsets.append(i)
    return "".join(kept), offsets


def mask(text: str) -> str:
    """`text` with every identifier replaced by its kind, such as ``<PHONE>``. Masking masked text changes nothing."""
    pieces: list[str] = []
    at = 0
    for found in find(text):
        pieces += (text[at : found.start], f"<{found.type}>")
        at = found.end
    return "".join([*pieces, text[at:]])


_PSEUDONYM: Final = re.compile(r"p1_[0-9a-f]{32}")


def is_pseudonym(identifier: str) -> bool:
    """Whether `identifier` looks like what `pseudonym` makes."""
    return _PSEUDONYM.fullmatch(identifier) is not None


def pseudonym(identifier: str, key: str) -> str:
    """A stable stand-in for a user or session: ``p1_`` and 128 bits of HMAC-SHA256 under `key`, in hex.

    A pseudonym stays as it is, so that it may be taken before Kafka and again before the database.
    """
    if is_pseudonym(identifier):
        return identifier
    return "p1_" + hmac.new(key.encode(), identifier.encode(), hashlib.sha256).hexdigest()[:32]
