"""Candidates beside the serving version, and how each method compares with people's labels

Stop the streams workers first: labels that an older one applies are not in the new rollups.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import BINARY, DATETIME

revision = "0005"
down_revision = "0004"

OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Make the tables."""
    there = sa.inspect(op.get_bind())
    if not there.has_table("intent_rollout_comparisons"):
        op.create_table(
            "intent_rollout_comparisons",
            sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False, comment="the candidate's activation"),
            sa.Column("first_question_id", sa.BigInteger, nullable=False, comment="questions from it on are compared"),
            sa.Column("verdict", sa.String(16), comment="better, worse or unknown"),
            sa.Column("comparison", sa.JSON, comment="the figures of both versions"),
            sa.Column("compared_at", DATETIME(fsp=6)),
            comment="how a candidate did beside the version that served",
            **OPTIONS,
        )
    if not there.has_table("intent_shadow_answers"):
        op.create_table(
            "intent_shadow_answers",
            sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
            sa.Column("event_id", BINARY(16), nullable=False),
            sa.Column("text_hash", BINARY(16), nullable=False, comment="of the question, see intent_user_questions"),
            sa.Column("version", sa.String(64), nullable=False, comment="the version that only would have said so"),
            sa.Column("generation", sa.BigInteger, nullable=False, comment="its activation"),
            sa.Column("intents", sa.JSON, nullable=False),
            sa.Column("confidence", sa.Numeric(5, 4), nullable=False),
            sa.Column("served_version", sa.String(64), nullable=False),
            sa.Column("agreed", sa.Boolean, nullable=False),
            sa.Column("scored_at", DATETIME(fsp=6), nullable=False),
            sa.UniqueConstraint("event_id"),
            comment="what a version would have answered that did not answer",
            **OPTIONS,
        )
    indexes = sa.inspect(op.get_bind()).get_indexes("intent_shadow_answers")
    if not any(index["name"] == "ix_shadow_answers_version" for index in indexes):
        op.create_index("ix_shadow_answers_version", "intent_shadow_answers", ["version", "text_hash"])
    _fill_rollups(op.get_bind())


def _fill_rollups(connection: sa.Connection) -> None:
    """Labelled questions by the method of their answer, and those whose answer was correct."""
    sums: Counter[tuple[str, str]] = Counter()
    labelled = """
        SELECT method, intents, correct_intent, COUNT(*) FROM intent_user_questions
        WHERE is_labeled = 1 AND method IS NOT NULL GROUP BY method, intents, correct_intent
    """
    for method, intents, label, number in connection.exec_driver_sql(labelled):
        said, meant = (set(json.loads(text)) if text else set() for text in (intents, label))
        sums["judged_by", method] += number
        sums["right_by", method] += number if said == meant else 0
    connection.exec_driver_sql("DELETE FROM intent_rollups WHERE name IN ('judged_by', 'right_by')")
    rollups = sa.table("intent_rollups", sa.column("name"), sa.column("item"), sa.column("value"))
    op.bulk_insert(rollups, [{"name": name, "item": item, "value": n} for (name, item), n in sorted(sums.items()) if n])
