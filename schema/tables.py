"""The tables. Names and columns are the users' own; what was added is said beside it.

Every text column compares by code point (``utf8mb4_bin``): a case-insensitive unique key would call 'a' and 'A' one keyword.
Moments are ``DATETIME(6)`` in UTC.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql import BINARY, DATETIME, LONGTEXT

from schema.columns import OPTIONS, derived, json_value, metadata, moment, number, utc_now
from schema.labelling_tables import intent_leases, intent_question_marks, intent_reviews, intent_second_opinions

__all__ = ["intent_leases", "intent_question_marks", "intent_reviews", "intent_second_opinions", "metadata", "utc_now"]

_WAITING: Final = "is_labeled = 0 AND consent_training = 1 AND training_status = 'pending'"
# Indexes over millions of rows: a new row must land beside the last ones, or each insert reads and dirties a page of its own.
# So what is looked up by content (user, confidence) comes after, or as, something coarse: a day, one of 200 bands; and rows
# that a query never wants have NULL or equal keys, all in one place.
intent_user_questions: Final = Table(
    "intent_user_questions",
    metadata,
    number(),
    Column("event_id", BINARY(16), nullable=False),
    Column("question", Text, nullable=False),
    Column("text_hash", BINARY(16), nullable=False, comment="added: equal for copies of a question, decides the held-out split"),
    Column("user_id", String(128)),
    Column("session_id", String(128)),
    Column("solar_date", Date),
    Column("solar_time", String(16)),
    Column("gender", String(16)),
    Column("intents", json_value()),
    Column("confidence", Numeric(5, 4)),
    Column("rule_types", json_value()),
    Column("time_intent", json_value()),
    Column("keywords", json_value()),
    Column("method", String(32)),
    Column("response_time_ms", Integer),
    Column("is_fortune_related", Boolean),
    Column("is_ambiguous", Boolean),
    Column("reasoning", Text),
    Column("is_labeled", Boolean, nullable=False, server_default=text("0")),
    Column("correct_intent", json_value()),
    Column("correct_time_intent", json_value()),
    Column("labeler_id", String(64)),
    moment("labeled_at", nullable=True),
    Column("training_status", String(16), nullable=False, server_default="pending", comment="pending, used or skipped"),
    Column("training_batch_id", String(64)),
    Column("training_model_version", String(64)),
    Column("model_version", String(64), comment="added: the version that answered"),
    Column("rules_revision", Integer, comment="added"),
    Column("matched_rules", json_value(), comment="added: [{keyword, intent}]"),
    Column("consent_training", Boolean, nullable=False, comment="added: as the question said, or the default"),
    Column("consent_stated", Boolean, nullable=False, comment="added: whether the question said anything of consent"),
    Column("traceparent", String(64), comment="added: trace of the event that brought it"),
    moment("asked_at"),
    moment("created_at"),
    moment("updated_at"),
    derived(
        "waiting_band",
        SmallInteger(),
        f"CASE WHEN {_WAITING} THEN CASE WHEN confidence IS NULL THEN 0 ELSE 1 + FLOOR(confidence * 200) END END",
        "added: confidence in steps of 0.005 where it waits for a label, 0 where it was never classified",
    ),
    derived(
        "waiting_since", DATETIME(fsp=6), f"CASE WHEN {_WAITING} THEN asked_at END", "added: asked_at where it waits for a label"
    ),
    derived("stored_on", Date(), "CAST(created_at AS DATE)", "added: the day of created_at"),
    UniqueConstraint("event_id"),
    Index("ix_questions_band", "waiting_band"),
    Index("ix_questions_since", "waiting_since"),
    Index("ix_questions_training", "is_labeled", "training_status", "training_model_version", "training_batch_id"),
    Index("ix_questions_user", "stored_on", "user_id"),
    Index("ix_questions_text", "stored_on", "text_hash"),
    **OPTIONS,
)

intent_keyword_rules: Final = Table(
    "intent_keyword_rules",
    metadata,
    number(),
    Column("keyword", String(64), nullable=False),
    Column("intent", String(32), nullable=False),
    Column("confidence_boost", Numeric(5, 4), nullable=False),
    Column("source", String(16), nullable=False, comment="auto or manual"),
    Column("usage_count", BigInteger, nullable=False, server_default=text("0")),
    Column("success_count", BigInteger, nullable=False, server_default=text("0")),
    Column("failure_count", BigInteger, nullable=False, server_default=text("0"), comment="added"),
    Column("support", Integer, nullable=False, server_default=text("0"), comment="added: labelled questions it stood in"),
    Column("revision_added", Integer, nullable=False, server_default=text("0"), comment="added"),
    Column("retired_reason", String(255), comment="added"),
    Column("enabled", Boolean, nullable=False, server_default=text("1")),
    moment("created_at"),
    moment("updated_at"),
    UniqueConstraint("keyword", "intent"),
    **OPTIONS,
)

intent_label_suspects: Final = Table(
    "intent_label_suspects",
    metadata,
    Column("question_id", BigInteger, primary_key=True, autoincrement=False),
    Column("quality", Numeric(5, 4), nullable=False, comment="how sure the label is right, 0..1"),
    Column("suggested", json_value(), nullable=False, comment="the intents that the other questions speak for"),
    moment("labeled_at"),
    Column("training_batch_id", String(64), nullable=False),
    Index("ix_suspects_quality", "quality"),
    comment="added: labels that looked wrong to the last training",
    **OPTIONS,
)

intent_keyword_counts: Final = Table(
    "intent_keyword_counts",
    metadata,
    Column("keyword", String(64), primary_key=True),
    Column("intent", String(32), primary_key=True),
    Column("total", BigInteger, nullable=False),
    moment("updated_at"),
    **OPTIONS,
)

intent_keyword_snapshots: Final = Table(
    "intent_keyword_snapshots",
    metadata,
    Column("taken_at", DATETIME(fsp=6), primary_key=True),
    Column("keyword", String(64), primary_key=True, comment="empty in the one row that every snapshot has"),
    Column("intent", String(32), primary_key=True),
    Column("total", BigInteger, nullable=False),
    comment="intent_keyword_counts as it was at some moments: what windows are counted from",
    **OPTIONS,
)

intent_rollups: Final = Table(
    "intent_rollups",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("item", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
    comment="sums over intent_user_questions, kept in the transactions that change it: see schema/rollups.py",
    **OPTIONS,
)

intent_model_training_batches: Final = Table(
    "intent_model_training_batches",
    metadata,
    number(),
    Column("batch_id", String(64), nullable=False),
    Column("model_version", String(64)),
    Column("description", String(500)),
    Column("question_count", Integer, nullable=False, server_default=text("0"), comment="labelled questions it was made of"),
    Column("labeled_count", Integer, nullable=False, server_default=text("0"), comment="distinct ones among them"),
    Column("training_status", String(16), nullable=False, comment="pending, training, completed, rejected, failed or cancelled"),
    moment("training_start_time", nullable=True),
    moment("training_end_time", nullable=True),
    Column("training_duration_sec", Numeric(12, 3)),
    Column("model_accuracy", Numeric(5, 4), comment="held-out exact-match accuracy of the candidate"),
    Column("model_path", String(500)),
    Column("training_log", LONGTEXT),
    Column("error_message", Text),
    Column("trigger", String(16), nullable=False, comment="added: threshold or manual"),
    Column("metrics", json_value(), comment="added: serving and candidate on the same held-out rows, and the gate's verdict"),
    Column("task", String(32), nullable=False, comment="added: fine_tune, extract_keywords or rescore"),
    Column("auto_extract_keywords", Boolean, nullable=False, server_default=text("1"), comment="added"),
    Column("options", json_value(), comment="added: min_confidence and limit of an extraction"),
    Column("attempt", Integer, nullable=False, server_default=text("0"), comment="added: fencing token of the running trainer"),
    Column("requested", Boolean, nullable=False, server_default=text("0"), comment="added: training.requested was written"),
    Column("parent_version", String(64), comment="added: the version whose weights it starts from"),
    Column("progress", json_value(), comment="added: the last training.progress"),
    Column("rules_extracted", Integer, comment="added"),
    Column("traceparent", String(64), comment="added: trace of the event that led to it"),
    moment("created_at"),
    UniqueConstraint("batch_id"),
    **OPTIONS,
)

intent_model_versions: Final = Table(
    "intent_model_versions",
    metadata,
    number(),
    Column("version", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_path", String(500), nullable=False, comment="URL of the artefact"),
    Column("base_model", String(255), nullable=False),
    Column("parent_version", String(64)),
    Column("training_batch_id", String(64)),
    Column("question_count", Integer, nullable=False, server_default=text("0")),
    Column("accuracy", Numeric(5, 4)),
    Column("metrics", json_value()),
    Column("gate_passed", Boolean, nullable=False, comment="added"),
    Column("rules_revision", Integer, nullable=False, comment="added: the rules inside the artefact"),
    Column("manifest_sha256", String(64), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("0")),
    moment("deployed_at", nullable=True),
    Column("description", String(500)),
    moment("created_at"),
    UniqueConstraint("version"),
    **OPTIONS,
)

intent_label_history: Final = Table(
    "intent_label_history",
    metadata,
    number(),
    Column("event_id", BINARY(16), nullable=False),
    Column("question_id", BigInteger, ForeignKey("intent_user_questions.id"), nullable=False),
    Column("correct_intent", json_value(), nullable=False),
    Column("correct_time_intent", json_value()),
    Column("labeler_id", String(64), nullable=False),
    moment("labeled_at"),
    moment("applied_at"),
    Column("takes_back", String(8), comment="added: an undo: last, the labeler's last label before it, or all of them"),
    UniqueConstraint("event_id"),
    Index("ix_label_history_question", "question_id"),
    comment="append-only",
    **OPTIONS,
)

intent_model_activations: Final = Table(
    "intent_model_activations",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True, comment="the generation"),
    Column("version", String(64), nullable=False),
    Column("rules_revision", Integer, nullable=False),
    Column("traffic", Integer, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("activated_by", String(64), nullable=False),
    Column("reason", String(500), nullable=False),
    moment("activated_at"),
    comment="append-only",
    **OPTIONS,
)

intent_rollout_comparisons: Final = Table(
    "intent_rollout_comparisons",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False, comment="the candidate's activation"),
    Column("first_question_id", BigInteger, nullable=False, comment="questions from it on are compared"),
    Column("verdict", String(16), comment="better, worse or unknown"),
    Column("comparison", json_value(), comment="the figures of both versions"),
    moment("compared_at", nullable=True),
    comment="how a candidate did beside the version that served",
    **OPTIONS,
)

intent_shadow_answers: Final = Table(
    "intent_shadow_answers",
    metadata,
    number(),
    Column("event_id", BINARY(16), nullable=False),
    Column("text_hash", BINARY(16), nullable=False, comment="of the question, see intent_user_questions"),
    Column("version", String(64), nullable=False, comment="the version that only would have said so"),
    Column("generation", BigInteger, nullable=False, comment="its activation"),
    Column("intents", json_value(), nullable=False),
    Column("confidence", Numeric(5, 4), nullable=False),
    Column("served_version", String(64), nullable=False),
    Column("agreed", Boolean, nullable=False),
    moment("scored_at"),
    UniqueConstraint("event_id"),
    Index("ix_shadow_answers_version", "version", "text_hash"),
    comment="what a version would have answered that did not answer",
    **OPTIONS,
)

outbox: Final = Table(
    "outbox",
    metadata,
    number(),
    Column("event_id", BINARY(16), nullable=False, comment="id of the CloudEvent; a repeat of a publish keeps it"),
    Column("topic", String(100), nullable=False, comment="without the prefix"),
    Column("record_key", String(128), nullable=False),
    Column("event", LONGTEXT, nullable=False, comment="the event's data, JSON"),
    Column("traceparent", String(64)),
    moment("created_at"),
    comment="rows are deleted once the broker has acknowledged them",
    **OPTIONS,
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    number(),
    Column("prefix", String(16), nullable=False),
    Column("secret_sha256", BINARY(32), nullable=False),
    Column("role", String(16), nullable=False),
    Column("description", String(255)),
    moment("created_at"),
    moment("expires_at", nullable=True),
    moment("revoked_at", nullable=True),
    moment("last_used_at", nullable=True),
    UniqueConstraint("prefix"),
    **OPTIONS,
)

audit_log: Final = Table(
    "audit_log",
    metadata,
    number(),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", String(128), nullable=False),
    Column("detail", json_value()),
    moment("created_at"),
    comment="append-only",
    **OPTIONS,
)

consent_withdrawals: Final = Table(
    "consent_withdrawals",
    metadata,
    Column("user_id", String(128), primary_key=True),
    moment("withdrawn_at"),
    moment("created_at"),
    **OPTIONS,
)

intent_locks: Final = Table(
    "intent_locks",
    metadata,
    Column("name", String(64), primary_key=True),
    comment="rows to lock: what only one process may do at a time holds one until its transaction ends",
    **OPTIONS,
)
LOCKS: Final = ("trigger", "activation", "relay", "snapshot", "work")
