"""What an inference request of the Open Inference Protocol may hold, and what is said of one that may not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.oip import MAX_BODY_BYTES, Row, read_request
from schema.errors import RequestError


def question(*texts: Any, **other: Any) -> dict[str, Any]:
    return {"name": "question", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)} | other


def refusal(body: Any, json_length: str | None = None) -> str:
    with pytest.raises(RequestError) as refused:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), json_length)
    return str(refused.value)


def test_256_of_the_longest_questions_fit_into_a_body_and_one_more_does_not() -> None:
    longest = "𠮷" * 2000
    body = json.dumps({"inputs": [question(*[longest] * 256)]}).encode()
    assert len(body) < MAX_BODY_BYTES
    assert read_request(body, None)[1] == [Row(question=longest)] * 256
    assert "n from 1 to 256" in refusal({"inputs": [question(*["命"] * 257)]})


def test_an_empty_user_or_moment_is_none() -> None:
    users = question("u-1", "", name="user_id", shape=[2, 1])
    moments = question("", "2026-12-31T16:30:00", name="asked_at")
    _, rows = read_request(json.dumps({"inputs": [users, question("财运", "健康"), moments]}).encode(), None)
    assert rows == [
        Row(question="财运", user_id="u-1"),
        Row(question="健康", asked_at=datetime(2026, 12, 31, 16, 30, tzinfo=UTC)),
    ]


def test_a_refusal_does_not_quote_the_text() -> None:
    assert "secret" not in refusal({"inputs": [question("财运"), question("secret", name="asked_at")]})
    assert "secret" not in refusal({"inputs": "secret"})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([question("财运", "")], 'input "question", row 1: String should have at least 1 character'),
        ([question("财运", "命" * 2001)], 'input "question", row 1: String should have at most 2000 characters'),
        ([question("财运", 7)], 'input "question", row 1: not a string'),
        ([question("财运", "健康", shape=[3])], 'input "question" has 2 elements, its shape says 3'),
        ([question("财运", shape=[1, 2])], 'input "question": the shape is [1, 2], not [n] or [n, 1] with n from 1 to 256'),
        ([question("财运", shape=[])], 'input "question": the shape is [], not [n] or [n, 1] with n from 1 to 256'),
        ([question()], 'input "question": the shape is [0], not [n] or [n, 1] with n from 1 to 256'),
        ([question(7, datatype="INT64")], 'input "question": the datatype is INT64, not BYTES'),
        ([question("财运", data=None)], 'input "question" has to have either "data" or the parameter binary_data_size'),
        ([question("财运"), question("财运")], 'input "question" stands there twice'),
        ([question("财运", name="text")], 'unknown input "text", known are: question, user_id, asked_at'),
        ([question("u-1", name="user_id")], 'there is no input "question"'),
        ([], 'there is no input "question"'),
        (
            [question("财运", "健康"), question("u-1", name="user_id")],
            'input "user_id" has 1 rows, "question" has 2',
        ),
        (
            [question("财运"), question("u" * 129, name="user_id")],
            'input "user_id", row 0: String should have at most 128 characters',
        ),
        (
            [question("财运"), question("soon", name="asked_at")],
            'input "asked_at", row 0: Input should be a valid datetime or date, input is too short',
        ),
    ],
)
def test_a_refusal_names_input_and_row(inputs: Any, message: str) -> None:
    assert refusal({"inputs": inputs}) == message


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"name": "score"}], 'unknown output "score", known are: answer, intent, confidence'),
        ([{"name": "intent"}, {"name": "intent"}], 'output "intent" stands there twice'),
        (
            [{"name": "intent", "parameters": {"classification": 3}}],
            'output "intent": the parameter classification is not supported',
        ),
    ],
)
def test_a_refusal_names_the_output(outputs: Any, message: str) -> None:
    assert refusal({"inputs": [question("财运")], "outputs": outputs}) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"[]", "Input should be an object"),
        (b"{}", "inputs: Field required"),
        (b'{"inputs": [{"name": "question"}]}', "inputs.0.datatype: Field required"),
        (b'{"inputs": [{"name": "question", "datatype": "BYTES", "shape": ["1"]}]}', "inputs.0.shape.0: Input should be"),
    ],
)
def test_a_refusal_says_where_the_json_is_wrong(body: bytes, message: str) -> None:
    assert refusal(body).startswith(message)


FORTUNE = b"\x06\0\0\0" + "财运".encode()


def binary_body(size: Any, binary: bytes) -> tuple[bytes, str]:
    """One row of binary data, and the length of the JSON before it."""
    tensor = {"name": "question", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + binary, str(len(text))


def test_binary_data_is_read_in_the_order_of_the_inputs() -> None:
    users = {"name": "user_id", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}}
    asked = {"name": "question", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": 20}}
    text = json.dumps({"inputs": [users, question("", "2027-01-01", name="asked_at"), asked]}).encode()
    body = text + b"\x03\0\0\0u-1\0\0\0\0" + FORTUNE * 2
    assert read_request(body, str(len(text)))[1] == [
        Row(question="财运", user_id="u-1"),
        Row(question="财运", asked_at=datetime(2027, 1, 1, tzinfo=UTC)),
    ]


@pytest.mark.parametrize(
    ("size", "binary", "message"),
    [
        (9, b"\x05" + FORTUNE[1:9], "row 0: not UTF-8"),
        (10, b"\x07" + FORTUNE[1:], "row 0: the binary data ends within it"),
        (10, b"\x06\0\0\xff" + FORTUNE[4:], "row 0: the binary data ends within it"),
        (3, FORTUNE[:3], "row 0: the binary data ends within it"),
        (0, b"", "row 0: the binary data ends within it"),
        (4, b"\0\0\0\0", "row 0: String should have at least 1 character"),
        (10, b"\x03" + FORTUNE[1:], "3 bytes of binary data follow its last row"),
        (11, FORTUNE, "binary_data_size is not the number of bytes that follow"),
        (-1, b"", "binary_data_size is not the number of bytes that follow"),
        (True, b"\x06", "binary_data_size is not the number of bytes that follow"),
        (10, FORTUNE + b"!", "1 bytes follow the binary data that the inputs speak of"),
    ],
)
def test_binary_data_that_does_not_fit_is_refused(size: Any, binary: bytes, message: str) -> None:
    assert refusal(*binary_body(size, binary)).endswith(message)


def test_both_json_and_binary_data_for_one_input_is_refused() -> None:
    both = question("财运", parameters={"binary_data_size": 10})
    text = json.dumps({"inputs": [both]}).encode()
    assert refusal(text + FORTUNE, str(len(text))).endswith('has to have either "data" or the parameter binary_data_size')


@pytest.mark.parametrize("length", ["", "-1", "+1", "1e3", "２", "3", "9" * 5000])
def test_a_length_of_the_json_beyond_the_body_is_refused(length: str) -> None:
    assert "is not a length within the 2 bytes of the body" in refusal(b"{}", length)
