"""Labels that look wrong, and batches that were cancelled

May run while everything works: a new table, and a comment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    if not sa.inspect(op.get_bind()).has_table("intent_label_suspects"):
        op.create_table(
            "intent_label_suspects",
            sa.Column("question_id", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("quality", sa.Numeric(precision=5, scale=4), nullable=False, comment="how sure the label is right, 0..1"),
            sa.Column("suggested", sa.JSON(), nullable=False, comment="the intents that the other questions speak for"),
            sa.Column("labeled_at", mysql.DATETIME(fsp=6), nullable=False),
            sa.Column("training_batch_id", sa.String(length=64), nullable=False),
            sa.PrimaryKeyConstraint("question_id"),
            comment="added: labels that looked wrong to the last training",
            mysql_charset="utf8mb4",
            mysql_collate="utf8mb4_bin",
            mysql_engine="InnoDB",
        )
        op.create_index("ix_suspects_quality", "intent_label_suspects", ["quality"])
    op.alter_column(
        "intent_model_training_batches",
        "training_status",
        existing_type=sa.String(length=16),
        existing_nullable=False,
        comment="pending, training, completed, rejected, failed or cancelled",
    )
