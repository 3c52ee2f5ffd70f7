"""The bodies and query strings of the routes that labelers use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SkipValidation, StringConstraints

from api.filters import Filters
from api.inputs import Name, Remark
from api.wire import Input
from schema.events import Intents, TimeIntent

QuestionId = Annotated[int, Field(ge=1, le=2**63 - 1)]

Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
"""Where the page before ended: `next_cursor` of its answer."""


class Work(Input):
    """How many groups a labeler wants, which, and in what order."""

    limit: int = Field(default=10, ge=1, le=50)
    strategy: Literal["mixed", "uncertain", "disagreement", "newest", "oldest", "random"] = "mixed"
    filters: Filters | None = None


class Questions(Input):
    """Some questions."""

    question_ids: list[QuestionId] = Field(min_length=1, max_length=1000)


class Label(Input):
    """What a question means, according to a person."""

    correct_intent: Intents
    correct_time_intent: TimeIntent | None = None
    labeler_id: Name
    apply_to_group: bool = Field(default=False, description="label its near-identical copies too")


class NamedLabel(Label):
    """A label of many, with its question."""

    question_id: QuestionId


class Labels(Input):
    """Many labels. Each is looked at for itself: one that is at fault does not hold up the others."""

    labels: list[SkipValidation[NamedLabel]] = Field(min_length=1, max_length=1000)


class Decision(Input):
    """Whose decision it is."""

    labeler_id: Name


class Flag(Decision):
    """Why a question is for others to look at."""

    comment: Remark = Field(min_length=1)


class Person(Input):
    """Query of ``GET progress``."""

    labeler: Name | None = None


class Search(Filters):
    """Query of ``GET questions``."""

    status: Literal["open", "labeled", "skipped", "flagged"] | None = None
    labeler: Name | None = Field(default=None, description="who labelled it, or with status skipped or flagged, who did that")
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class ReviewListing(Input):
    """Query of ``GET review``."""

    kind: Literal["disagreement", "flag", "suspect"] | None = None
    cursor: Annotated[str, StringConstraints(pattern=r"^(disagreement|flag|suspect)(-[0-9]{1,18}){1,2}$")] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class Review(Input):
    """How a review ends."""

    action: Literal["accept", "correct", "send_back"]
    labeler_id: Name
    correct_intent: Intents | None = None
    comment: Remark = ""
