"""Leases, marks, second opinions and reviews; undo of labels; copies of a text are found

Stop the streams workers first: an older one does not know what an undo is. The index over the questions is built while they
are read and written.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import BINARY, DATETIME

revision = "0006"
down_revision = "0005"

OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    """Make the tables, the column and the index."""
    _make(
        "intent_leases",
        sa.Column("text_hash", BINARY(16), primary_key=True),
        sa.Column("labeler_id", sa.String(64), nullable=False),
        sa.Column("expires_at", DATETIME(fsp=6), nullable=False),
        comment="which labeler has which group of questions, until when",
    )
    _index("intent_leases", "ix_leases_labeler", "labeler_id")
    _index("intent_leases", "ix_leases_expiry", "expires_at")
    _make(
        "intent_question_marks",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
        sa.Column("decision", BINARY(16), nullable=False, comment="equal for what one decision marked"),
        sa.Column("question_id", sa.BigInteger, nullable=False),
        sa.Column("text_hash", BINARY(16), nullable=False),
        sa.Column("labeler_id", sa.String(64), nullable=False),
        sa.Column(
            "kind", sa.String(16), nullable=False, comment="label, copy (labelled with another one), skip, postpone, flag or undo"
        ),
        sa.Column("comment", sa.String(500), comment="why it was flagged"),
        sa.Column("answer", sa.JSON, comment="the intents of a label"),
        sa.Column("until", DATETIME(fsp=6)),
        sa.Column("created_at", DATETIME(fsp=6), nullable=False),
        sa.Column("closed_at", DATETIME(fsp=6)),
        comment="what people decided on questions, until they undo it; the labels themselves are in intent_label_history",
    )
    _index("intent_question_marks", "ix_marks_question", "question_id", "kind")
    _index("intent_question_marks", "ix_marks_text", "text_hash", "kind")
    _index("intent_question_marks", "ix_marks_labeler", "labeler_id", "kind", "created_at")
    _index("intent_question_marks", "ix_marks_kind", "kind", "created_at")
    _make(
        "intent_second_opinions",
        sa.Column("text_hash", BINARY(16), primary_key=True),
        sa.Column("question_id", sa.BigInteger, nullable=False),
        sa.Column("first_labeler", sa.String(64), nullable=False),
        sa.Column("first_answer", sa.JSON, nullable=False),
        sa.Column("first_at", DATETIME(fsp=6), nullable=False),
        sa.Column("second_labeler", sa.String(64)),
        sa.Column("second_answer", sa.JSON),
        sa.Column("second_at", DATETIME(fsp=6)),
        sa.Column("agreed", sa.Boolean),
        sa.Column("reviewed_at", DATETIME(fsp=6)),
        comment="the share of questions that two people answer, neither knowing what the other or the model said",
    )
    _index("intent_second_opinions", "ix_second_opinions_second", "second_labeler", "first_at")
    _index("intent_second_opinions", "ix_second_opinions_agreed", "agreed", "reviewed_at", "question_id")
    _index("intent_second_opinions", "ix_second_opinions_question", "question_id")
    _make(
        "intent_reviews",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
        sa.Column("question_id", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(16), nullable=False, comment="accept, correct or send_back"),
        sa.Column("labeler_id", sa.String(64), nullable=False),
        sa.Column("correct_intent", sa.JSON),
        sa.Column("comment", sa.String(500)),
        sa.Column("created_at", DATETIME(fsp=6), nullable=False),
        comment="append-only",
    )
    _index("intent_reviews", "ix_reviews_question", "question_id")
    if not any(column["name"] == "takes_back" for column in sa.inspect(op.get_bind()).get_columns("intent_label_history")):
        said = "added: an undo: last, the labeler's last label before it, or all of them"
        op.add_column("intent_label_history", sa.Column("takes_back", sa.String(8), comment=said))
    _index("intent_user_questions", "ix_questions_text", "stored_on", "text_hash")


def _make(name: str, *columns: sa.Column[object], comment: str) -> None:
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *columns, comment=comment, **OPTIONS)


def _index(table: str, name: str, *columns: str) -> None:
    if not any(index["name"] == name for index in sa.inspect(op.get_bind()).get_indexes(table)):
        op.create_index(name, table, list(columns))
