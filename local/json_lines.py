"""JSON lines in, JSON lines out: what ``intentloop classify`` and its siblings share.

A bad line is reported on stderr with its number and does not stop the others; the exit status says whether there was one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schema.events import MAX_QUESTION_CHARS


class QuestionLine(BaseModel):
    """One question. `id` comes back as it was; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)


class TextLine(BaseModel):
    """One text to mask."""

    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    text: str = Field(max_length=1_000_000)


L = TypeVar("L", QuestionLine, TextLine)


def answer_lines(
    model: type[L], answer: Callable[[L], dict[str, Any]], *, source: TextIO = sys.stdin, target: TextIO = sys.stdout
) -> bool:
    """Answer each line of `source` on `target`, in order; returns whether every line was good. Empty lines are passed over."""
    good = True
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            given = model.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            print(f"line {number}: {where + ': ' if where else ''}{first['msg']}", file=sys.stderr)
            good = False
            continue
        print(json.dumps({"id": given.id} | answer(given), ensure_ascii=False), file=target, flush=True)
    return good
