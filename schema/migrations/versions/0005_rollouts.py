"""Candidates beside the serving version

May run while everything works: two new tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import BINARY, DATETIME

revision = "0005"
down_revision = "0004"

OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "intent_rollout_comparisons",
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False, comment="the candidate's activation"),
        sa.Column("first_question_id", sa.BigInteger, nullable=False, comment="questions from it on are compared"),
        sa.Column("verdict", sa.String(16), comment="better, worse or unknown"),
        sa.Column("comparison", sa.JSON, comment="the figures of both versions"),
        sa.Column("compared_at", DATETIME(fsp=6)),
        comment="how a candidate did beside the version that served",
        if_not_exists=True,
        **OPTIONS,
    )
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
        sa.Index("ix_shadow_answers_version", "version", "text_hash"),
        comment="what a version would have answered that did not answer",
        if_not_exists=True,
        **OPTIONS,
    )
