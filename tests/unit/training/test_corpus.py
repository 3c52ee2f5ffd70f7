"""Labelled rows: bad lines are named, copies stand on one side, and every question has exactly one side."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from schema.errors import ConfigError, RequestError
from schema.text import is_held_out
from training.corpus import Row, distinct, is_validation, read_rows, seed_rows, split, write_rows

GOOD = '{"question": "财运如何", "intents": ["wealth"]}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize(
    ("line", "code", "field", "why"),
    [
        ("财运如何", "invalid", None, "is not JSON"),
        ('{"question": "财运', "invalid", None, "is not JSON"),
        ('["财运如何", "wealth"]', "invalid", None, "is not a JSON object"),
        ('{"intents": ["wealth"]}', "invalid", "question", "question has no text"),
        ('{"question": 7, "intents": ["wealth"]}', "invalid", "question", "question has no text"),
        ('{"question": " ？！ ", "intents": ["wealth"]}', "invalid", "question", "question has no text"),
        ('{"question": "财运如何"}', "invalid", "intents", "intents must be a list of one to 3"),
        ('{"question": "财运如何", "intents": "wealth"}', "invalid", "intents", "intents must be a list"),
        ('{"question": "财运如何", "intents": []}', "invalid", "intents", "intents must be a list of one to 3"),
        ('{"question": "财运", "intents": ["wealth", "career", "health", "general"]}', "invalid", "intents", "one to 3"),
        ('{"question": "财运如何", "intents": ["luck"]}', "unknown_intent", "intents", "'luck' is not an intent"),
        ('{"question": "财运如何", "intents": [["wealth"]]}', "unknown_intent", "intents", "is not an intent"),
        ('{"question": "财运", "intents": ["non_fortune", "wealth"]}', "invalid", "intents", "non_fortune stands alone"),
    ],
)
def test_a_bad_line_is_named_by_number_and_field(path: Path, line: str, code: str, field: str | None, why: str) -> None:
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read_rows(path)
    assert str(caught.value).startswith("rows.jsonl line 3")
    assert why in str(caught.value)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_question_that_no_file_can_hold_is_a_bad_line_too(path: Path) -> None:
    """JSON can spell half a character (a lone surrogate); UTF-8 cannot."""
    path.write_text('{"question": "财运\\ud800", "intents": ["wealth"]}\n', encoding="utf-8")
    with pytest.raises(RequestError, match="line 1"):
        distinct(read_rows(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_says_what_to_do(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="give a UTF-8 file of JSON lines"):
        read_rows(path)


def test_other_fields_and_windows_line_ends_do_not_matter(path: Path) -> None:
    path.write_bytes('{"question": "财运\u2028如何", "intents": ["wealth", "career"], "id": 3}\r\n\r\n'.encode())
    assert read_rows(path) == [Row("财运\u2028如何", ("career", "wealth"))]


def test_written_rows_are_read_back(path: Path) -> None:
    rows = [Row('他说"好"\\\n财运', ("career", "wealth")), Row("🎲今天天气", ("non_fortune",))]
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0]).keys() == {"question", "intents"}


def test_of_copies_the_last_label_holds() -> None:
    rows = [Row("我的财运如何", ("general",)), Row("健康", ("health",)), Row("我的財運，如何？", ("wealth",))]
    assert {row.intents for row in distinct(rows)} == {("health",), ("wealth",)}
    assert {row.intents for row in distinct(rows[::-1])} == {("health",), ("general",)}


def test_the_order_of_distinct_rows_hangs_on_the_texts_alone() -> None:
    rows = [Row(f"第{'一' * i}问", ("career",)) for i in range(1, 50)]
    mixed = rows.copy()
    random.Random(1).shuffle(mixed)
    assert mixed != rows
    assert distinct(mixed) == distinct(rows)


def test_every_question_has_exactly_one_side() -> None:
    rows = seed_rows()
    sides = split(rows)
    assert len(sides.training) + len(sides.validation) + len(sides.held_out) == len(rows)
    assert all(is_held_out(row.question) for row in sides.held_out)
    assert not any(is_held_out(row.question) for row in (*sides.training, *sides.validation))
    assert all(is_validation(row.question) for row in sides.validation)
    assert not any(is_validation(row.question) for row in sides.training)


def test_a_fifth_is_held_out_and_a_tenth_of_the_rest_validates() -> None:
    sides = split([Row(f"问{chr(0x4E00 + i)}{chr(0x5E00 + i)}", ("career",)) for i in range(4000)])
    assert len(sides.held_out) / 4000 == pytest.approx(0.2, abs=0.02)
    assert len(sides.validation) / (4000 - len(sides.held_out)) == pytest.approx(0.1, abs=0.02)
