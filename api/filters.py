"""Which stored questions are meant: the filters that the queue and the search share, and matching Chinese however written."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints
from sqlalchemy import ColumnElement, and_, func, true

from api.inputs import parse_moment
from api.wire import Input
from schema.tables import intent_user_questions as questions
from schema.taxonomy import Intent
from schema.text import simplify

_WRITTEN: Final = ((0x41, 0x5B), (0x3400, 0xA000), (0xF900, 0xFB00), (0xFF01, 0xFF5F))
"""Code points that have another form: capitals, Chinese characters, full-width ones."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Day = Annotated[datetime, BeforeValidator(parse_moment)]
Score = Annotated[float, Field(ge=0, le=1)]


class Filters(Input):
    """Questions that fit all that is given."""

    q: Words | None = Field(default=None, description="what stands in the text, in simplified, traditional or full-width form")
    intent: Intent | None = Field(default=None, description="among the model's answer or the label")
    method: Literal["local_model", "keyword_fallback", "llm_fallback"] | None = None
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    min_confidence: Score | None = None
    max_confidence: Score | None = None
    since: Day | None = Field(default=None, alias="from", description="asked then or later")
    until: Day | None = Field(default=None, alias="to", description="asked before")


def fits(wanted: Filters | None) -> ColumnElement[bool]:
    """The condition on `intent_user_questions`."""
    return and_(true(), *_conditions(wanted)) if wanted is not None else true()


def _conditions(wanted: Filters) -> Iterator[ColumnElement[bool]]:
    q = questions.c
    if wanted.q is not None:
        yield q.question.regexp_match(pattern(wanted.q))
    if wanted.intent is not None:
        yield _holds(func.coalesce(q.correct_intent, q.intents), wanted.intent)
    if wanted.method is not None:
        yield q.method == wanted.method
    if wanted.version is not None:
        yield q.model_version == wanted.version
    if wanted.min_confidence is not None:
        yield q.confidence >= wanted.min_confidence
    if wanted.max_confidence is not None:
        yield q.confidence <= wanted.max_confidence
    if wanted.since is not None:
        yield q.asked_at >= wanted.since.replace(tzinfo=None)
    if wanted.until is not None:
        yield q.asked_at < wanted.until.replace(tzinfo=None)


def _holds(intents: Any, intent: str) -> ColumnElement[bool]:
    """Whether the JSON list holds `intent`."""
    found: ColumnElement[bool] = func.json_contains(intents, f'"{intent}"') == 1
    return found


def pattern(words: str) -> str:
    """A regular expression (PCRE and ICU) for `words` in every form that `schema.text.simplify` makes one of."""
    return "".join(_any_of(character) for character in simplify(words))


def _any_of(character: str) -> str:
    forms = _forms().get(character, ()) if character.isalnum() or character.isprintable() else ()
    written = "".join(_escaped(form) for form in (character, *forms))
    return f"[{written}]" if forms else written


def _escaped(character: str) -> str:
    return character if character.isalnum() else re.sub(r"(.)", r"\\\1", character, flags=re.DOTALL)


@cache
def _forms() -> dict[str, tuple[str, ...]]:
    """By each simplified, narrow, lower-case character: its other forms."""
    written = [chr(code) for first, end in _WRITTEN for code in range(first, end)]
    plain = simplify("\n".join(written)).split("\n")
    found: defaultdict[str, list[str]] = defaultdict(list)
    for character, meant in zip(written, plain, strict=True):
        if len(meant) == 1 and meant != character:
            found[meant].append(character)
    return {meant: tuple(forms) for meant, forms in found.items()}
