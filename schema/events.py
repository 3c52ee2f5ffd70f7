"""One model per event: what its data holds. The envelope around it: `schema.envelope`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schema.taxonomy import MAX_INTENTS, NON_FORTUNE, Intent

MAX_QUESTION_CHARS: Final = 2000
MAX_MATCHED: Final = 64  # rules that an answer tells of; more decide, but are not listed


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


TakesBack = Literal["last", "all"]


class QuestionLabeled(Event):
    """A person said what a stored question means, or took that back.

    `takes_back`: not a label, but an undo: of the labeler's last label before it (``last``), or of every label, so that the
    question waits again (``all``). `correct_intent` is then what is taken back, as far as the sender knows.
    """

    type: ClassVar[str] = "question.labeled.v1"

    question_id: int = Field(ge=1)
    correct_intent: Intents
    correct_time_intent: TimeIntent | None = None
    labeler_id: str = Field(min_length=1, max_length=64)
    labeled_at: Moment
    takes_back: TakesBack | None = None


class LabelApplied(Event):
    """A label is in the database, or was taken back there."""

    type: ClassVar[str] = "label.applied.v1"

    question_id: int
    correct_intent: Intents
    labeler_id: str
    is_relabel: bool
    applied_at: Moment
    takes_back: TakesBack | None = None


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

    @property
    def is_candidate(self) -> bool:
        """Whether it stands beside the serving version, for a share of the users or in the shadow.

        It does so until the next activation: of a candidate, which takes its place, or of a version for everyone.
        """
        return self.traffic < 100 or self.mode == "shadow"


LATENCY_BOUNDS_MS: Final = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000, 5000)


class AnswerFigures(Model):
    """How one version did on one replica since the replica loaded it, or since a candidate came beside it.

    Attributes:
        answered: questions that it answered, in the shadow or not.
        failed: questions on which it failed; another version answered them, or they were only to be compared.
        unsure: answers of model and rules below the confidence that is asked for: an LLM is asked where there is one.
        llm_calls: questions that an LLM answered in the end.
        confidence_sum: of all its answers of model and rules.
        compared: questions that the other version answered too.
        agreed: those of them to which both gave the same intents.
        latency: answers of model and rules by their time: up to each of `LATENCY_BOUNDS_MS`, and above the last one.
    """

    version: str
    generation: int
    answered: int = 0
    failed: int = 0
    unsure: int = 0
    llm_calls: int = 0
    confidence_sum: float = 0.0
    compared: int = 0
    agreed: int = 0
    latency: list[int] = Field(default_factory=list, max_length=len(LATENCY_BOUNDS_MS) + 1)


class CandidateStatus(Model):
    """What a replica made of an activation for a share of the users, or for the shadow."""

    generation: int
    version: str
    state: Literal["loaded", "load_failed"]
    error: str = ""


class ReplicaStatus(Event):
    """What a replica serves, or why it could not load what was activated.

    `stale`: it serves what it knew when it last ran, and has not heard from Kafka since it started.
    """

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
    stale: bool = False
    candidate: CandidateStatus | None = None
    figures: list[AnswerFigures] = Field(default_factory=list)


class ShadowScored(Event):
    """What a version that did not answer a question would have said. Its text is not told, only the hash of its normal form."""

    type: ClassVar[str] = "shadow.scored.v1"

    generation: int = Field(ge=1)
    version: str = Field(max_length=64)
    text_hash: str = Field(pattern=r"^[0-9a-f]{32}$")
    intents: Intents
    confidence: Score
    served_version: str = Field(max_length=64)
    agreed: bool
    scored_at: Moment


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
    ShadowScored,
    KeywordCounted,
    ConsentWithdrawn,
)
