"""Versions judged again

May run while everything works: a comment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Say what a batch may be asked for."""
    op.alter_column(
        "intent_model_training_batches",
        "task",
        existing_type=sa.String(length=32),
        existing_nullable=False,
        comment="added: fine_tune, extract_keywords or rescore",
    )
