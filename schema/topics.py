"""One value per topic: its name, its key, the event it carries, and how the broker keeps it.

Names carry the configured prefix, so that several systems can share a cluster. Every topic that one of our consumers
reads has a dead-letter topic of the same name with ``.dlq`` behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schema.events import (
    ConsentWithdrawn,
    Event,
    KeywordCounted,
    LabelApplied,
    ModelActivated,
    QuestionAsked,
    QuestionLabeled,
    ReplicaStatus,
    ShadowScored,
    TrainingFinished,
    TrainingProgress,
    TrainingRequested,
)

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """How one topic is laid out.

    Attributes:
        stem: the name without the configured prefix.
        event: the model of its values.
        key: what its key is, in words.
        partitions: how many; order holds within one.
        cleanup: ``delete`` after `retention_ms`, or ``compact`` to the last value per key.
        dead_letters: whether a consumer of ours reads it, so that it has a dead-letter topic.
        keyed_by_user: whether the key names a user, so that a dead letter must not show it raw.
    """

    stem: str
    event: type[Event]
    key: str
    partitions: int = 1
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 7 * DAY_MS
    dead_letters: bool = False
    keyed_by_user: bool = False

    def name(self, prefix: str = "") -> str:
        """The topic's name on a cluster."""
        return prefix + self.stem

    def dead_letter_name(self, prefix: str = "") -> str:
        """The name of its dead-letter topic."""
        return f"{prefix}{self.stem}.dlq"


QUESTION_ASKED: Final = Topic(
    "question.asked",
    QuestionAsked,
    "user_id (pseudonym), else the event id",
    12,
    retention_ms=72 * HOUR_MS,
    dead_letters=True,
    keyed_by_user=True,
)
QUESTION_LABELED: Final = Topic("question.labeled", QuestionLabeled, "question_id", 3, dead_letters=True)
LABEL_APPLIED: Final = Topic("label.applied", LabelApplied, "question_id", 3, dead_letters=True)
TRAINING_REQUESTED: Final = Topic("training.requested", TrainingRequested, "batch_id", dead_letters=True)
TRAINING_PROGRESS: Final = Topic("training.progress", TrainingProgress, "batch_id")
TRAINING_FINISHED: Final = Topic("training.finished", TrainingFinished, "batch_id")
MODEL_ACTIVATED: Final = Topic("model.activated", ModelActivated, '"serving" or "candidate"', cleanup="compact")
REPLICA_STATUS: Final = Topic("replica.status", ReplicaStatus, "replica_id", cleanup="compact")
SHADOW_SCORED: Final = Topic("shadow.scored", ShadowScored, "text_hash", 3, retention_ms=72 * HOUR_MS, dead_letters=True)
KEYWORD_COUNTS: Final = Topic("keyword.counts", KeywordCounted, "intent and keyword", 3, cleanup="compact")
CONSENT_WITHDRAWN: Final = Topic(
    "consent.withdrawn",
    ConsentWithdrawn,
    "user_id (pseudonym)",
    retention_ms=72 * HOUR_MS,
    dead_letters=True,
    keyed_by_user=True,
)

TOPICS: Final[tuple[Topic, ...]] = (
    QUESTION_ASKED,
    QUESTION_LABELED,
    LABEL_APPLIED,
    TRAINING_REQUESTED,
    TRAINING_PROGRESS,
    TRAINING_FINISHED,
    MODEL_ACTIVATED,
    REPLICA_STATUS,
    SHADOW_SCORED,
    KEYWORD_COUNTS,
    CONSENT_WITHDRAWN,
)
MAX_RECORD_BYTES: Final = 8 << 20
"""What our producers send and dead-letter topics take at most. Other topics take what the broker allows, 1 MB by default."""
DEAD_LETTER_RETENTION_MS: Final = 14 * DAY_MS
