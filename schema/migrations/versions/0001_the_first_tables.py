"""The first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""

    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("secret_sha256", sa.BINARY(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("expires_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("revoked_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("last_used_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=128), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="append-only",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "consent_withdrawals",
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("withdrawn_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_keyword_counts",
        sa.Column("keyword", sa.String(length=64), nullable=False),
        sa.Column("intent", sa.String(length=32), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("keyword", "intent"),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_counts_total", "intent_keyword_counts", ["total"], unique=False)
    op.create_table(
        "intent_keyword_rules",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("keyword", sa.String(length=64), nullable=False),
        sa.Column("intent", sa.String(length=32), nullable=False),
        sa.Column("confidence_boost", sa.Numeric(precision=5, scale=4), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False, comment="auto or manual"),
        sa.Column("usage_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("success_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="added"),
        sa.Column(
            "support", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="added: labelled questions it stood in"
        ),
        sa.Column("revision_added", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="added"),
        sa.Column("retired_reason", sa.String(length=255), nullable=True, comment="added"),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("keyword", "intent", name=op.f("uq_intent_keyword_rules_keyword_intent")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_locks",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="rows to lock: what only one process may do at a time holds one until its transaction ends",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_model_activations",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False, comment="the generation"),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("rules_revision", sa.Integer(), nullable=False),
        sa.Column("traffic", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("activated_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("activated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="append-only",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_model_training_batches",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column(
            "question_count",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="labelled questions it was made of",
        ),
        sa.Column("labeled_count", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="distinct ones among them"),
        sa.Column(
            "training_status", sa.String(length=16), nullable=False, comment="pending, training, completed, rejected or failed"
        ),
        sa.Column("training_start_time", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("training_end_time", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("training_duration_sec", sa.Numeric(precision=12, scale=3), nullable=True),
        sa.Column(
            "model_accuracy",
            sa.Numeric(precision=5, scale=4),
            nullable=True,
            comment="held-out exact-match accuracy of the candidate",
        ),
        sa.Column("model_path", sa.String(length=500), nullable=True),
        sa.Column("training_log", mysql.LONGTEXT(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("trigger", sa.String(length=16), nullable=False, comment="added: threshold or manual"),
        sa.Column(
            "metrics",
            sa.JSON(none_as_null=True),
            nullable=True,
            comment="added: serving and candidate on the same held-out rows, and the gate's verdict",
        ),
        sa.Column("task", sa.String(length=32), nullable=False, comment="added: fine_tune or extract_keywords"),
        sa.Column("auto_extract_keywords", sa.Boolean(), server_default=sa.text("1"), nullable=False, comment="added"),
        sa.Column(
            "options", sa.JSON(none_as_null=True), nullable=True, comment="added: min_confidence and limit of an extraction"
        ),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="added: fencing token of the running trainer",
        ),
        sa.Column(
            "requested",
            sa.Boolean(),
            server_default=sa.text("0"),
            nullable=False,
            comment="added: training.requested was written",
        ),
        sa.Column(
            "parent_version", sa.String(length=64), nullable=True, comment="added: the version whose weights it starts from"
        ),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True, comment="added: the last training.progress"),
        sa.Column("rules_extracted", sa.Integer(), nullable=True, comment="added"),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("batch_id", name=op.f("uq_intent_model_training_batches_batch_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_model_versions",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("model_path", sa.String(length=500), nullable=False, comment="URL of the artefact"),
        sa.Column("base_model", sa.String(length=255), nullable=False),
        sa.Column("parent_version", sa.String(length=64), nullable=True),
        sa.Column("training_batch_id", sa.String(length=64), nullable=True),
        sa.Column("question_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("accuracy", sa.Numeric(precision=5, scale=4), nullable=True),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("gate_passed", sa.Boolean(), nullable=False, comment="added"),
        sa.Column("rules_revision", sa.Integer(), nullable=False, comment="added: the rules inside the artefact"),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("deployed_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("version", name=op.f("uq_intent_model_versions_version")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_user_questions",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.BINARY(length=16), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column(
            "text_hash",
            sa.BINARY(length=16),
            nullable=False,
            comment="added: equal for copies of a question, decides the held-out split",
        ),
        sa.Column("user_id", sa.String(length=128), nullable=True),
        sa.Column("session_id", sa.String(length=128), nullable=True),
        sa.Column("solar_date", sa.Date(), nullable=True),
        sa.Column("solar_time", sa.String(length=16), nullable=True),
        sa.Column("gender", sa.String(length=16), nullable=True),
        sa.Column("intents", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("confidence", sa.Numeric(precision=5, scale=4), nullable=True),
        sa.Column("rule_types", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("time_intent", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("keywords", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("method", sa.String(length=32), nullable=True),
        sa.Column("response_time_ms", sa.Integer(), nullable=True),
        sa.Column("is_fortune_related", sa.Boolean(), nullable=True),
        sa.Column("is_ambiguous", sa.Boolean(), nullable=True),
        sa.Column("reasoning", sa.Text(), nullable=True),
        sa.Column("is_labeled", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("correct_intent", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("correct_time_intent", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("labeler_id", sa.String(length=64), nullable=True),
        sa.Column("labeled_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column(
            "training_status", sa.String(length=16), server_default="pending", nullable=False, comment="pending, used or skipped"
        ),
        sa.Column("training_batch_id", sa.String(length=64), nullable=True),
        sa.Column("training_model_version", sa.String(length=64), nullable=True),
        sa.Column("model_version", sa.String(length=64), nullable=True, comment="added: the version that answered"),
        sa.Column("rules_revision", sa.Integer(), nullable=True, comment="added"),
        sa.Column("matched_rules", sa.JSON(none_as_null=True), nullable=True, comment="added: [{keyword, intent}]"),
        sa.Column("consent_training", sa.Boolean(), nullable=False, comment="added: as the question said, or the default"),
        sa.Column("consent_stated", sa.Boolean(), nullable=False, comment="added: whether the question said anything of consent"),
        sa.Column("asked_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", name=op.f("uq_intent_user_questions_event_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_questions_batch", "intent_user_questions", ["training_batch_id"], unique=False)
    op.create_index(
        "ix_questions_queue", "intent_user_questions", ["is_labeled", "training_status", "confidence", "id"], unique=False
    )
    op.create_index(
        "ix_questions_training", "intent_user_questions", ["training_status", "is_labeled", "text_hash"], unique=False
    )
    op.create_index("ix_questions_user", "intent_user_questions", ["user_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column(
            "event_id", sa.BINARY(length=16), nullable=False, comment="id of the CloudEvent; a repeat of a publish keeps it"
        ),
        sa.Column("topic", sa.String(length=100), nullable=False, comment="without the prefix"),
        sa.Column("record_key", sa.String(length=128), nullable=False),
        sa.Column("event", mysql.LONGTEXT(), nullable=False, comment="the event's data, JSON"),
        sa.Column("traceparent", sa.String(length=64), nullable=True),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="rows are deleted once the broker has acknowledged them",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "intent_label_history",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.BINARY(length=16), nullable=False),
        sa.Column("question_id", sa.BigInteger(), nullable=False),
        sa.Column("correct_intent", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("correct_time_intent", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("labeler_id", sa.String(length=64), nullable=False),
        sa.Column("labeled_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("applied_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.ForeignKeyConstraint(
            ["question_id"],
            ["intent_user_questions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", name=op.f("uq_intent_label_history_event_id")),
        comment="append-only",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_label_history_question", "intent_label_history", ["question_id"], unique=False)


def downgrade() -> None:
    """Drop all tables."""

    op.drop_index("ix_label_history_question", table_name="intent_label_history")
    op.drop_table("intent_label_history")
    op.drop_table("outbox")
    op.drop_index("ix_questions_user", table_name="intent_user_questions")
    op.drop_index("ix_questions_training", table_name="intent_user_questions")
    op.drop_index("ix_questions_queue", table_name="intent_user_questions")
    op.drop_index("ix_questions_batch", table_name="intent_user_questions")
    op.drop_table("intent_user_questions")
    op.drop_table("intent_model_versions")
    op.drop_table("intent_model_training_batches")
    op.drop_table("intent_model_activations")
    op.drop_table("intent_locks")
    op.drop_table("intent_keyword_rules")
    op.drop_index("ix_counts_total", table_name="intent_keyword_counts")
    op.drop_table("intent_keyword_counts")
    op.drop_table("consent_withdrawals")
    op.drop_table("audit_log")
    op.drop_table("api_keys")
