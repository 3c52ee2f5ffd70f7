"""The bodies and query strings of the routes that labelers use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.filters import Filters
from api.wire import Input

QuestionId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Work(Input):
    """How many groups a labeler wants, which, and in what order."""

    limit: int = Field(default=10, ge=1, le=50)
    strategy: Literal["mixed", "uncertain", "disagreement", "newest", "oldest", "random"] = "mixed"
    filters: Filters | None = None


class Questions(Input):
    """Some questions."""

    question_ids: list[QuestionId] = Field(min_length=1, max_length=1000)
