"""Labelled questions: reading them, the seed corpus, and the three sides that a question can be on.

The side is decided by the text's hash alone: a fifth is *held out* and never trains, a tenth of the rest is *validation* for
calibration and early decisions, the remainder trains. Copies of a question therefore always stand on one side.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schema.errors import ConfigError, RequestError
from schema.taxonomy import INTENTS, MAX_INTENTS, NON_FORTUNE, Intent
from schema.text import is_held_out, normalise, text_hash

SEED_FILE: Final = Path(__file__).parent / "base" / "seed.jsonl"
VALIDATION_SHARE: Final = 10
"""One training-side question in this many validates instead."""
MIN_VALIDATION: Final = 50
"""Fewer validation rows choose by luck."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled question; `intents` has one to three, ``non_fortune`` alone."""

    question: str
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Sides:
    """Rows by what they may be used for."""

    training: list[Row]
    validation: list[Row]
    held_out: list[Row]


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON-lines file; other fields than ``question`` and ``intents`` are ignored, empty lines too.

    Raises:
        ConfigError: the file cannot be read.
        RequestError: a line is not a labelled question; the message has its number.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; give a UTF-8 file of JSON lines") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, f"{path.name} line {number}"))
    return rows


def _row(line: str, where: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise RequestError("invalid", f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError("invalid", f"{where} is not a JSON object")
    question, intents = value.get("question"), value.get("intents")
    if not isinstance(question, str) or not _is_text(question) or not normalise(question):
        raise RequestError("invalid", f"{where}: question has no text", "question")
    if not isinstance(intents, list) or not 1 <= len(intents) <= MAX_INTENTS:
        raise RequestError("invalid", f"{where}: intents must be a list of one to {MAX_INTENTS}", "intents")
    for intent in intents:
        if intent not in INTENTS:
            raise RequestError("unknown_intent", f"{where}: {intent!r} is not an intent", "intents")
    if NON_FORTUNE in intents and len(intents) > 1:
        raise RequestError("invalid", f"{where}: {NON_FORTUNE} stands alone", "intents")
    return Row(question, tuple(i for i in INTENTS if i in intents))


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: JSON can spell half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write `rows` as JSON lines that `read_rows` reads."""
    lines = (json.dumps({"question": r.question, "intents": list(r.intents)}, ensure_ascii=False) + "\n" for r in rows)
    path.write_text("".join(lines), encoding="utf-8")


def seed_rows() -> list[Row]:
    """The seed corpus of the built-in base, sorted by hash."""
    return read_rows(SEED_FILE)


def distinct(rows: Iterable[Row]) -> list[Row]:
    """`rows` with one row per normalised text: the last one given, in the order of the hashes.

    The order depends on the texts alone, so the same rows train the same weights however they arrive.
    """
    last = {text_hash(row.question): row for row in rows}
    return [last[key] for key in sorted(last)]


def is_validation(text: str) -> bool:
    """Whether this question validates if it is not held out. Independent of the held-out bits of the hash."""
    return int.from_bytes(text_hash(text)[8:], "big") % VALIDATION_SHARE == 0


def split(rows: Sequence[Row]) -> Sides:
    """`rows` by side. Membership depends on each text alone, so it never changes."""
    sides = Sides([], [], [])
    for row in rows:
        if is_held_out(row.question):
            sides.held_out.append(row)
        elif is_validation(row.question):
            sides.validation.append(row)
        else:
            sides.training.append(row)
    return sides
