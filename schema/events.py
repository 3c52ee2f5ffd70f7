"""One model per event, in a CloudEvents 1.0 envelope.

Format: CloudEvents 1.0 JSON format and Kafka protocol binding. Structured mode is written; structured and binary are read.
An event's ``id`` may be any string; records are told apart by 16 bytes: the id itself if it is a UUID, else a
UUIDv5 of source and id, so that any producer gets idempotence.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schema.errors import EventError
from schema.ids import uuid7
from schema.taxonomy import MAX_INTENTS, NON_FORTUNE, Intent

TYPE_PREFIX: Final = "com.intentloop."
CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
MAX_QUESTION_CHARS: Final = 2000
MAX_MATCHED: Final = 64  # rules that an answer tells of; more decide, but are not listed
MAX_VALUE_BYTES: Final = 256 * 1024
_ID_NAMESPACE: Final = uuid.UUID("6f1d2a54-3c6e-5d0b-9f43-0b6c5f7a9e21")

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
Headers = list[tuple[str, bytes]]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("out of range") from None


def _valid_intents(intents: list[Intent]) -> list[Intent]:
    unique = list(dict.fromkeys(intents))
    if len(unique) > 1 and NON_FORTUNE in unique:
        raise ValueError("non_fortune stands alone")
    return unique


Moment = Annotated[datetime, AfterValidator(_utc)]
Intents = Annotated[list[Intent], Field(min_length=1, max_length=MAX_INTENTS), AfterValidator(_valid_intents)]
Year = Annotated[int, Field(ge=1000, le=9999)]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]
Keyword = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
"""Without outer blanks: the database compares as if they were not there."""
Score = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Base of everything that is read from or written to the wire: immutable, unknown fields are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


TimeIntentType = Literal[
    "today",
    "this_month",
    "this_year",
    "next_year",
    "future_years",
    "recent_years",
    "specific_year",
    "year_range",
]


class TimeIntent(Model):
    """Which time a question asks about, relative to the day it was asked (Asia/Shanghai)."""

    type: TimeIntentType
    target_years: list[Year] = Field(min_length=1, max_length=100)
    description: str = Field(default="", max_length=200)
    is_explicit: bool = True


class MatchedRule(Model):
    """A keyword rule that spoke for an intent."""

    keyword: Keyword
    intent: Intent


class Classification(Model):
    """An answer: what a replica returns, and what ``question.asked`` carries when the question was classified."""

    intents: Intents
    confidence: Score
    rule_types: list[str] = Field(default_factory=list, max_length=16)
    time_intent: TimeIntent | None = None
    keywords: list[Keyword] = Field(default_factory=list, max_length=64)
    matched_rules: list[MatchedRule] = Field(default_factory=list, max_length=MAX_MATCHED)
    method: Literal["local_model", "keyword_fallback", "llm_fallback"]
    response_time_ms: float = Field(ge=0, le=86_400_000)
    is_fortune_related: bool
    is_ambiguous: bool = False
    reasoning: str = Field(default="", max_length=2000)
    model_version: str = Field(max_length=64)
    rules_revision: int = Field(ge=0)
    replica_id: str = Field(default="", max_length=64)


class Consent(Model):
    """What the asker agreed to. Without `training` a question is never labelled or trained on."""

    training: bool
    version: str = Field(default="", max_length=32)
    given_at: Moment | None = None


class Event(Model):
    """Base of all event data. `type` is the CloudEvents type without the common prefix."""

    type: ClassVar[str]


class QuestionAsked(Event):
    """A user asked a question. Produced by the fortune API."""

    type: ClassVar[str] = "question.asked.v1"

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    asked_at: Moment | None = None
    solar_date: date | None = None
    solar_time: str | None = Field(default=None, max_length=16)
    gender: Literal["male", "female", "unknown"] | None = None
    consent: Consent | None = None
    classification: Classification | None = None


class QuestionLabeled(Event):
    """A person said what a stored question means."""

    type: ClassVar[str] = "question.labeled.v1"

    question_id: int = Field(ge=1)
    correct_intent: Intents
    correct_time_intent: TimeIntent | None = None
    labeler_id: str = Field(min_length=1, max_length=64)
    labeled_at: Moment


class LabelApplied(Event):
    """A label is in the database."""

    type: ClassVar[str] = "label.applied.v1"

    question_id: int
    correct_intent: Intents
    labeler_id: str
    is_relabel: bool
    applied_at: Moment


class TrainingRequested(Event):
    """A batch waits to be run: from the threshold or from a person, the same event."""

    type: ClassVar[str] = "training.requested.v1"

    batch_id: str
    task: Literal["fine_tune", "extract_keywords", "rescore"]
    trigger: Literal["threshold", "manual"]


class TrainingProgress(Event):
    """How far a batch is."""

    type: ClassVar[str] = "training.progress.v1"

    batch_id: str
    attempt: int
    stage: str
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None


class TrainingFinished(Event):
    """A batch ended."""

    type: ClassVar[str] = "training.finished.v1"

    batch_id: str
    outcome: Literal["completed", "rejected", "failed", "cancelled"]
    version: str | None = None
    reason: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)


class ModelActivated(Event):
    """This immutable unit (model, rules, dictionary, thresholds, label order) serves from now on.

    `generation` only grows; a replica ignores what is older than what it has.
    """

    type: ClassVar[str] = "model.activated.v1"

    generation: int = Field(ge=1)
    version: str
    rules_revision: int
    model_url: str
    manifest_sha256: str
    traffic: int = Field(default=100, ge=1, le=100)
    mode: Literal["serve", "shadow"] = "serve"
    activated_by: str
    reason: str
    activated_at: Moment


class ReplicaStatus(Event):
    """What a replica serves, or why it could not load what was activated."""

    type: ClassVar[str] = "replica.status.v1"

    replica_id: str
    state: Literal["loaded", "load_failed", "stopped"]
    wanted_generation: int
    loaded_generation: int
    version: str
    rules_revision: int
    error: str = ""
    seconds: float = 0.0
    url: str = ""
    reported_at: Moment


class KeywordCounted(Event):
    """The absolute number of stored questions in which this keyword stood with this intent."""

    type: ClassVar[str] = "keyword.counted.v1"

    keyword: Keyword
    intent: Intent
    total: int = Field(ge=0)
    updated_at: Moment


class ConsentWithdrawn(Event):
    """A user takes back the consent to training."""

    type: ClassVar[str] = "consent.withdrawn.v1"

    user_id: Identifier
    withdrawn_at: Moment


EVENTS: Final[tuple[type[Event], ...]] = (
    QuestionAsked,
    QuestionLabeled,
    LabelApplied,
    TrainingRequested,
    TrainingProgress,
    TrainingFinished,
    ModelActivated,
    ReplicaStatus,
    KeywordCounted,
    ConsentWithdrawn,
)


E = TypeVar("E", bound=Event)


class Envelope(BaseModel, Generic[E]):
    """A CloudEvents 1.0 envelope around one of our events. Unknown extension attributes are allowed and ignored."""

    model_config = ConfigDict(frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=256)
    source: str = Field(min_length=1, max_length=256)
    type: str
    time: Moment = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: str = "application/json"
    traceparent: str | None = Field(default=None, max_length=64)
    data: E

    @model_validator(mode="after")
    def _type_fits(self) -> Self:
        expected = TYPE_PREFIX + type(self.data).type
        if self.type != expected:
            raise ValueError(f"type is not {expected}")
        return self

    @property
    def key_bytes(self) -> bytes:
        """16 bytes that identify this event for ever: see the module's docstring."""
        if _UUID.fullmatch(self.id):
            return bytes.fromhex(self.id.replace("-", ""))
        try:
            return uuid.UUID(self.id).bytes  # braces, a urn, no hyphens
        except ValueError:
            return uuid.uuid5(_ID_NAMESPACE, f"{self.source}\n{self.id}").bytes


def wrap(
    event: E, *, source: str, event_id: str | None = None, at: datetime | None = None, traceparent: str | None = None
) -> Envelope[E]:
    """Put `event` into an envelope; a missing id becomes a UUIDv7 and a missing time becomes now."""
    model: type[Envelope[E]] = Envelope[type(event)]  # type: ignore[misc, assignment]
    return model(
        id=event_id or str(uuid7()),
        source=source,
        type=TYPE_PREFIX + event.type,
        time=at or datetime.now(UTC),
        traceparent=traceparent,
        data=event,
    )


def encode(envelope: Envelope[E]) -> bytes:
    """`envelope` as structured-mode JSON (UTF-8, Chinese written literally)."""
    return envelope.model_dump_json(exclude_none=True).encode()


@cache
def _envelope(event: type[E]) -> type[Envelope[E]]:
    return Envelope[event]  # type: ignore[valid-type]


def decode(event: type[E], value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> Envelope[E]:
    """Read a record's value as `event`, in structured or binary mode.

    Raises:
        EventError: with reason ``tombstone``, ``too_large``, ``not_utf8``, ``not_json``, ``unknown_type``,
            ``unknown_version`` or ``invalid``. The message holds field names and rules, never the value's text.
    """
    if value is None:
        raise EventError("tombstone", "the value is null")
    if len(value) > MAX_VALUE_BYTES:
        raise EventError("too_large", f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES} are read")
    envelope = _envelope(event)
    attributes: dict[str, str] = {}
    try:
        attributes = _binary_attributes(headers)
        if attributes:
            return envelope.model_validate(attributes | {"data": event.model_validate_json(value)})
        return envelope.model_validate_json(value)
    except UnicodeDecodeError:
        raise EventError("not_utf8", "a header is not UTF-8") from None
    except ValidationError as error:
        raise _refusal(event, error, value, attributes.get("type")) from None


def _binary_attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The envelope that binary mode keeps in ``ce_*`` headers; empty in structured mode (Kafka binding § 3)."""
    named = {name.lower(): value or b"" for name, value in headers}  # the client gives None for a null header
    if named.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        return {}
    return {name[3:]: value.decode() for name, value in named.items() if name.startswith("ce_")}


class _Claim(BaseModel):
    """The one field of a refused value that says what it wanted to be."""

    type: str


def _refusal(event: type[Event], error: ValidationError, value: bytes, claimed: str | None) -> EventError:
    """Say why `value` was refused, by field and rule, without quoting it."""
    if claimed is None:
        try:
            value.decode()
            claimed = _Claim.model_validate_json(value).type
        except UnicodeDecodeError:
            return EventError("not_utf8", "the value is not UTF-8")
        except ValidationError as claim_error:
            if claim_error.errors()[0]["type"] == "json_invalid":
                return EventError("not_json", "the value is not JSON")
    expected = TYPE_PREFIX + event.type
    if claimed is not None and claimed != expected:
        same_event = claimed.rsplit(".", 1)[0] == expected.rsplit(".", 1)[0]
        return EventError("unknown_version" if same_event else "unknown_type", f"the type is not {expected}")
    return EventError("invalid", "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)[:5]))


def _place(steps: tuple[int | str, ...]) -> str:
    """The field at fault; a name that is not like ours may be a user's text that stands in the wrong place."""
    return ".".join(n if re.fullmatch("[0-9a-z_]{1,32}", n) else "?" for n in map(str, steps)) or "value"
