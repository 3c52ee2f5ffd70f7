"""Rollups, snapshots of the keyword counts, and indexes that millions of rows can be inserted into

Stop the streams workers first: what an older one stores is not in the rollups. The questions are rewritten once, some
minutes for millions. DDL commits by itself, so each step looks whether it was done: a migration that was cut off is repeated.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

OPTIONS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
WAITING = "is_labeled = 0 AND consent_training = 1 AND training_status = 'pending'"
QUESTIONS = f"""
ALTER TABLE intent_user_questions
ADD COLUMN traceparent VARCHAR(64) NULL COMMENT 'added: trace of the event that brought it' AFTER consent_stated,
ADD COLUMN waiting_band SMALLINT
    GENERATED ALWAYS AS (CASE WHEN {WAITING} THEN CASE WHEN confidence IS NULL THEN 0 ELSE 1 + FLOOR(confidence * 200) END END)
    STORED COMMENT 'added: confidence in steps of 0.005 where it waits for a label, 0 where it was never classified',
ADD COLUMN waiting_since DATETIME(6) GENERATED ALWAYS AS (CASE WHEN {WAITING} THEN asked_at END)
    STORED COMMENT 'added: asked_at where it waits for a label',
ADD COLUMN stored_on DATE GENERATED ALWAYS AS (CAST(created_at AS DATE)) STORED COMMENT 'added: the day of created_at',
DROP INDEX ix_questions_queue,
DROP INDEX ix_questions_training,
DROP INDEX ix_questions_batch,
DROP INDEX ix_questions_user,
ADD INDEX ix_questions_band (waiting_band),
ADD INDEX ix_questions_since (waiting_since),
ADD INDEX ix_questions_training (is_labeled, training_status, training_model_version, training_batch_id),
ADD INDEX ix_questions_user (stored_on, user_id)
"""
BATCHES = """
ALTER TABLE intent_model_training_batches
ADD COLUMN traceparent VARCHAR(64) NULL COMMENT 'added: trace of the event that led to it' AFTER rules_extracted
"""
PLAIN_SUMS = f"""
SELECT COUNT(*), COALESCE(SUM(is_labeled), 0), COALESCE(SUM(training_status = 'skipped'), 0),
    COALESCE(SUM(consent_stated = 0), 0), COALESCE(SUM({WAITING}), 0)
FROM intent_user_questions
"""
PER_VERSION = """
SELECT model_version, COUNT(*), COALESCE(SUM(method = 'llm_fallback'), 0), COUNT(response_time_ms),
    COALESCE(SUM(response_time_ms), 0)
FROM intent_user_questions WHERE model_version IS NOT NULL GROUP BY model_version
"""
LABELS = """
SELECT model_version, intents, correct_intent, COUNT(*)
FROM intent_user_questions WHERE is_labeled = 1 GROUP BY model_version, intents, correct_intent
"""


def upgrade() -> None:
    """Make the tables, fill them from the rows, and change the indexes."""
    there = sa.inspect(op.get_bind())
    if not there.has_table("intent_rollups"):
        op.create_table(
            "intent_rollups",
            sa.Column("name", sa.String(length=64), nullable=False),
            sa.Column("item", sa.String(length=64), nullable=False),
            sa.Column("value", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("name", "item"),
            comment="sums over intent_user_questions, kept in the transactions that change it: see schema/rollups.py",
            **OPTIONS,
        )
    if not there.has_table("intent_keyword_snapshots"):
        op.create_table(
            "intent_keyword_snapshots",
            sa.Column("taken_at", mysql.DATETIME(fsp=6), nullable=False),
            sa.Column("keyword", sa.String(length=64), nullable=False, comment="empty in the one row that every snapshot has"),
            sa.Column("intent", sa.String(length=32), nullable=False),
            sa.Column("total", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("taken_at", "keyword", "intent"),
            comment="intent_keyword_counts as it was at some moments: what windows are counted from",
            **OPTIONS,
        )
    if not _has_column(there, "intent_model_training_batches", "traceparent"):
        op.execute(BATCHES)
    if not _has_column(there, "intent_user_questions", "traceparent"):
        op.execute(QUESTIONS)
    if any(index["name"] == "ix_counts_total" for index in there.get_indexes("intent_keyword_counts")):
        op.drop_index("ix_counts_total", table_name="intent_keyword_counts")
    _fill_rollups(op.get_bind())
    _take_first_snapshot()


def _has_column(there: sa.Inspector, table: str, column: str) -> bool:
    return any(found["name"] == column for found in there.get_columns(table))


def _fill_rollups(connection: sa.Connection) -> None:
    sums: Counter[tuple[str, str]] = Counter()
    for item, number in zip(
        ("total", "labeled", "skipped", "unstated", "waiting"), connection.exec_driver_sql(PLAIN_SUMS).one(), strict=True
    ):
        sums["questions", item] = int(number)
    for version, *numbers in connection.exec_driver_sql(PER_VERSION):
        for name, number in zip(("answered", "llm_calls", "timed", "milliseconds"), numbers, strict=True):
            sums[name, version.rstrip(" ")] += int(number)
    for version, intents, label, number in connection.exec_driver_sql(LABELS):
        said, meant = (set(json.loads(text)) if text else set() for text in (intents, label))
        sums.update({("labels", intent): number for intent in meant})
        if version is not None:
            sums["labeled", version.rstrip(" ")] += number
            sums["correct", version.rstrip(" ")] += number if said == meant else 0
    op.execute("DELETE FROM intent_rollups")
    rollups = sa.table("intent_rollups", sa.column("name"), sa.column("item"), sa.column("value"))
    op.bulk_insert(rollups, [{"name": name, "item": item, "value": n} for (name, item), n in sorted(sums.items()) if n])


def _take_first_snapshot() -> None:
    """Without it, windows would count everything that was ever asked until the first snapshot is older than they are long."""
    op.execute("INSERT INTO intent_keyword_snapshots VALUES (UTC_TIMESTAMP(6), '', '', 0)")
    op.execute(
        "INSERT INTO intent_keyword_snapshots (taken_at, keyword, intent, total)"
        " SELECT s.taken_at, c.keyword, c.intent, c.total FROM intent_keyword_counts c"
        " JOIN (SELECT MAX(taken_at) AS taken_at FROM intent_keyword_snapshots) s"
    )
