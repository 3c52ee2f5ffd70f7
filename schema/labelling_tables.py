"""The tables of the people who label: who holds what, what they decided, second opinions, and reviews.

Texts that are near-identical share a `text_hash` (see `schema.text`): such a *group* is what is held and skipped.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table
from sqlalchemy.dialects.mysql import BINARY

from schema.columns import OPTIONS, json_value, metadata, moment, number

intent_leases: Final = Table(
    "intent_leases",
    metadata,
    Column("text_hash", BINARY(16), primary_key=True),
    Column("labeler_id", String(64), nullable=False),
    moment("expires_at"),
    Index("ix_leases_labeler", "labeler_id"),
    Index("ix_leases_expiry", "expires_at"),
    comment="which labeler has which group of questions, until when",
    **OPTIONS,
)

intent_question_marks: Final = Table(
    "intent_question_marks",
    metadata,
    number(),
    Column("decision", BINARY(16), nullable=False, comment="equal for what one decision marked"),
    Column("question_id", BigInteger, nullable=False),
    Column("text_hash", BINARY(16), nullable=False),
    Column("labeler_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False, comment="label, copy (labelled with another one), skip, postpone, flag or undo"),
    Column("comment", String(500), comment="why it was flagged"),
    Column("answer", json_value(), comment="the intents of a label"),
    moment("until", nullable=True),
    moment("created_at"),
    moment("closed_at", nullable=True),
    Index("ix_marks_question", "question_id", "kind"),
    Index("ix_marks_text", "text_hash", "kind"),
    Index("ix_marks_labeler", "labeler_id", "kind", "created_at"),
    Index("ix_marks_kind", "kind", "created_at"),
    comment="what people decided on questions, until they undo it; the labels themselves are in intent_label_history",
    **OPTIONS,
)

intent_second_opinions: Final = Table(
    "intent_second_opinions",
    metadata,
    Column("text_hash", BINARY(16), primary_key=True),
    Column("question_id", BigInteger, nullable=False),
    Column("first_labeler", String(64), nullable=False),
    Column("first_answer", json_value(), nullable=False),
    moment("first_at"),
    Column("second_labeler", String(64)),
    Column("second_answer", json_value()),
    moment("second_at", nullable=True),
    Column("agreed", Boolean),
    moment("reviewed_at", nullable=True),
    Index("ix_second_opinions_second", "second_labeler", "first_at"),
    Index("ix_second_opinions_agreed", "agreed", "reviewed_at", "question_id"),
    Index("ix_second_opinions_question", "question_id"),
    comment="the share of questions that two people answer, neither knowing what the other or the model said",
    **OPTIONS,
)

intent_reviews: Final = Table(
    "intent_reviews",
    metadata,
    number(),
    Column("question_id", BigInteger, nullable=False),
    Column("action", String(16), nullable=False, comment="accept, correct or send_back"),
    Column("labeler_id", String(64), nullable=False),
    Column("correct_intent", json_value()),
    Column("comment", String(500)),
    moment("created_at"),
    Index("ix_reviews_question", "question_id"),
    comment="append-only",
    **OPTIONS,
)
