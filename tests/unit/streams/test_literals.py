"""Values in statements: nothing that a user types can end a literal, and the database reads back what was written."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Column, LargeBinary

from schema.tables import intent_user_questions as questions
from streams.literals import MAX_STATEMENT_CHARS, RowWriter, _parts, literal_for


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("财运", "'财运'"),
        ("it's", "'it''s'"),
        ("\\", "'\\\\'"),
        ("\\' OR 1=1 -- ", "'\\\\'' OR 1=1 -- '"),
        ("100%", "'100%'"),
        ("", "''"),
    ],
)
def test_quotes_and_backslashes_are_doubled(text: str, literal: str) -> None:
    assert literal_for(questions.c.question)(text) == literal


def test_every_written_column_has_a_literal() -> None:
    values = {
        "event_id": b"\x00'",
        "question": "问",
        "intents": ["wealth", "it's"],
        "confidence": 0.5,
        "is_ambiguous": False,
        "rules_revision": 3,
        "solar_date": date(1990, 1, 2),
        "asked_at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC).replace(tzinfo=None),
        "reasoning": None,
    }
    row = RowWriter(questions, tuple(values)).row(values)
    assert row == ("(x'0027','问','[\"wealth\",\"it''s\"]',0.5,0,3,'1990-01-02','2026-01-02 03:04:05.000006',NULL)")


def test_a_type_without_a_literal_is_refused() -> None:
    with pytest.raises(TypeError):
        literal_for(Column("raw", LargeBinary()))


def test_long_statements_are_cut() -> None:
    rows = ["x" * (MAX_STATEMENT_CHARS // 3)] * 7
    parts = list(_parts(rows))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [row for part in parts for row in part] == rows
