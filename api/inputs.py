"""The bodies and query strings of the routes, strictly: unknown fields and wrong types are named, never guessed at."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from api.wire import Input
from schema.keyword_windows import Window
from schema.taxonomy import Intent

Limit = Annotated[int, Field(ge=1, le=1000)]
Strategy = Literal["uncertain", "mixed", "disagreement", "suspects", "newest", "oldest", "random"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Remark = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


def parse_moment(given: object) -> object:
    """ISO 8601, nothing else; a ``+`` that arrived as a blank is put back, and no zone means UTC."""
    if not isinstance(given, str) or not re.match(r"\d{4}-\d{2}-\d{2}", given):
        raise ValueError("not a moment in ISO 8601, such as 2026-01-31T08:00:00Z")
    try:
        moment = datetime.fromisoformat(re.sub(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$", r"\1+\2", given))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("the moment is out of range") from None


class Waiting(Input):
    """Query of ``GET questions/unlabeled``."""

    limit: Limit = 100
    strategy: Strategy = "uncertain"


class NewBatch(Input):
    """What a batch is for."""

    description: Remark = ""


class Listing(Input):
    """Query of a list."""

    limit: Limit = 100


class KeywordListing(Input):
    """Query of a list of keywords."""

    limit: Limit = 100
    intent: Intent | None = None


class CountListing(KeywordListing):
    """Query of ``GET keywords/counts``."""

    window: Window = "total"


class IntentChoice(Input):
    """Query of ``GET keywords/counts/stream``."""

    intent: Intent | None = None


class RunBatch(Input):
    """How a batch is run."""

    auto_extract_keywords: bool = True


class Extraction(Input):
    """Query of ``POST keywords/extract``: which rules are kept, and how many at most."""

    min_confidence: float | None = Field(default=None, ge=0, le=1)
    limit: int = Field(default=1000, ge=1, le=10_000)


class Why(Input):
    """Why something is done."""

    reason: Remark = ""


class Activation(Input):
    """How a version is activated: for everyone, for a share of the users, or in the shadow. A reason overrides a failed gate."""

    traffic: int = Field(default=100, ge=1, le=100, description="per cent of the users")
    mode: Literal["serve", "shadow"] = "serve"
    reason: Remark = ""


class Moment(Input):
    """Query of ``GET models/at``."""

    time: Annotated[datetime, BeforeValidator(parse_moment)]
