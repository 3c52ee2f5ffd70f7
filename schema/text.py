"""One form for texts that mean the same, so that copies of a question fall on the same side of the held-out split.

The form: NFKC, lower case, simplified characters, no white space, punctuation or symbols, any run of digits as one sign.
Conversion to simplified characters is OpenCC's ``t2s``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache
from typing import Final

import opencc

HELD_OUT_SHARE: Final = 5
"""One question in this many is held out."""

_DIGITS: Final = re.compile(r"[0-9]+")
_DROPPED: Final = re.compile(r"[\W_]+")


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def simplify(text: str) -> str:
    """`text` in NFKC, lower case and simplified characters; punctuation stays."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return folded if folded.isascii() else str(_converter().convert(folded))


def normalise(text: str) -> str:
    """`text` in the form that decides identity: see the module's docstring."""
    return _DIGITS.sub("0", _DROPPED.sub("", simplify(text)))


def text_hash(text: str) -> bytes:
    """16 bytes that are equal for copies of a question: the head of SHA-256 over the normalised text."""
    return hashlib.sha256(normalise(text).encode()).digest()[:16]


def is_held_out(text: str) -> bool:
    """Whether this question belongs to the held-out fifth. It depends on the text alone, so it never changes."""
    return int.from_bytes(text_hash(text)[:8], "big") % HELD_OUT_SHARE == 0
