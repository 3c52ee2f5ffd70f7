"""Lines in, lines out: a bad one is named and does not stop the others."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from local.json_lines import QuestionLine, TextLine, answer_lines
from schema.events import MAX_QUESTION_CHARS


def answered(text: str) -> tuple[bool, list[dict[str, Any]]]:
    target = io.StringIO()
    good = answer_lines(QuestionLine, lambda line: {"length": len(line.question)}, source=io.StringIO(text), target=target)
    return good, [json.loads(line) for line in target.getvalue().splitlines()]


def test_answers_come_in_order_with_the_ids_they_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    good, lines = answered('{"id": 7, "question": "财运"}\n\n{"question": "姻缘如何", "more": 1}\n{"id": "x", "question": "病"}')
    assert good
    assert lines == [{"id": 7, "length": 2}, {"id": None, "length": 4}, {"id": "x", "length": 1}]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("财运", "line 2: Invalid JSON"),
        ('["财运"]', "line 2: Input should be an object"),
        ("{}", "line 2: question: Field required"),
        ('{"question": ""}', "line 2: question: String should have at least 1 character"),
        ('{"question": 7}', "line 2: question: Input should be a valid string"),
        (json.dumps({"question": "问" * (MAX_QUESTION_CHARS + 1)}), "line 2: question: String should have at most"),
        ('{"question": "财运", "id": [1]}', "line 2: id."),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_answered(capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    good, lines = answered(f'{{"question": "财运"}}\n{line}\n{{"question": "姻缘"}}\n')
    assert not good
    assert [one["length"] for one in lines] == [2, 2]
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert len(err.splitlines()) == 1


def test_a_bad_line_does_not_repeat_what_it_held(capsys: pytest.CaptureFixture[str]) -> None:
    answered('{"question": 13800138000}\n')
    assert "138" not in capsys.readouterr().err


def test_an_answer_is_written_before_the_next_line_is_read() -> None:
    """So that a pipe can be talked to."""
    target = io.StringIO()
    seen: list[int] = []

    def source() -> Any:
        for word in ("财运", "姻缘"):
            seen.append(len(target.getvalue().splitlines()))
            yield json.dumps({"question": word}) + "\n"

    answer_lines(QuestionLine, lambda _: {}, source=source(), target=target)
    assert seen == [0, 1]


def test_chinese_stays_readable_and_line_ends_in_a_text_stay_inside() -> None:
    target = io.StringIO()
    source = io.StringIO(json.dumps({"text": "财\n运\u2028"}) + "\n")
    assert answer_lines(TextLine, lambda line: {"text": line.text}, source=source, target=target)
    assert "财" in target.getvalue()
    assert target.getvalue().count("\n") == 1
    assert json.loads(target.getvalue())["text"] == "财\n运\u2028"
