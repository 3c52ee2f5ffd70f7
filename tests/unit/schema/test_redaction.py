"""What is kept of a record that could not be processed identifies nobody, whatever its bytes are."""

from __future__ import annotations

import json
import time

import pytest

from schema.privacy import pseudonym
from schema.redaction import redact, redact_header, redact_user

KEY = "a key for tests only"
PHONE = "13800138000"
RAW = pseudonym("raw-user", KEY)


@pytest.mark.parametrize(
    "value",
    [
        f'{{"电话": "{PHONE}"'.encode(),
        json.dumps({"question": f"我的电话{PHONE}"}).encode(),  # \u8bdd13800138000: a letter stands before the digits
        json.dumps({"question": f"第一行\n{PHONE}"}).encode(),
        json.dumps({"question": "电话１３８００１３８０００"}).encode(),
        json.dumps(json.dumps({"question": f"电话{PHONE}"})).encode(),
        f"question=%E7%94%B5%E8%AF%9D{PHONE}&mail=a%40b.com".encode(),
        f"电话{PHONE}我".encode("gb18030"),
        f"电话{PHONE}".encode("utf-16"),
        f"电话{PHONE}".encode("utf-16-be"),
        b"\xff\xfe " + PHONE.encode(),
        b"tel" + PHONE.encode() + b"\xfe",
        b"\x00\x16" + PHONE.encode() + b"\x02",
    ],
)
def test_identifiers_are_found_in_any_encoding(value: bytes) -> None:
    redacted = redact(value, KEY)
    assert redacted is not None
    assert b"<PHONE>" in redacted
    for nul_free in (redacted, redacted.replace(b"\x00", b"")):
        assert PHONE.encode() not in nul_free
    assert b"\\uff11" not in redacted
    assert b"a%40b.com" not in redacted
    assert redact(redacted, KEY) == redacted


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ('{"user_id": "raw-user", "x": 1}', f'{{"user_id": "{RAW}", "x": 1}}'),
        ('{"userId":"raw-user"}', f'{{"userId":"{RAW}"}}'),
        ('{"session_id": 17}', f'{{"session_id": "{pseudonym("17", KEY)}"}}'),
        ('{"user_id": null, "session_id": ""}', '{"user_id": null, "session_id": ""}'),
        ('{"user_id": "raw-user', f'{{"user_id": "{RAW}'),
        ("{'user_id': 'raw-user'}", f"{{'user_id': '{RAW}'}}"),
        (r'"{\"user_id\": \"raw-user\"}"', rf'"{{\"user_id\": \"{RAW}\"}}"'),
        (r'{"user_id": "raw\u002duser"}', f'{{"user_id": "{RAW}"}}'),
        ("user_id=raw-user&x=1", f"user_id={RAW}&x=1"),
        ("<user_id>raw-user</user_id>", f"<user_id>{RAW}</user_id>"),
        ('{"user_id": [{"a": "raw-user"}], "x": 1}', f'{{"user_id": [{{"a": "{RAW}"}}], "x": 1}}'),
        ('{"partitionkey": "raw-user"}', f'{{"partitionkey": "{RAW}"}}'),
        (f'{{"user_id": "{RAW}"}}', f'{{"user_id": "{RAW}"}}'),
    ],
)
def test_users_and_sessions_become_the_pseudonyms_that_stored_questions_have(value: str, redacted: str) -> None:
    assert redact(value.encode(), KEY) == redacted.encode()


def test_without_a_pseudonym_key_users_and_sessions_are_masked() -> None:
    assert redact(b'{"user_id": "raw-user", "session_id": 17}') == b'{"user_id": "<USER>", "session_id": "<SESSION>"}'
    assert redact_user(b"raw-user") == b"<USER>"
    assert redact_user(RAW.encode()) == RAW.encode()


@pytest.mark.parametrize(
    "value",
    [
        b'{"id": "2f1f5e3a-0123-7000-8000-2f1f5e3b9a10"}',  # 012 3700 08000 would be a landline
        '{"id": "e-1", "question": "我1990年5月1日13点生", "question_id": 17}'.encode(),
        b"\xff\xfe\x00\x01",
        b"",
    ],
)
def test_what_holds_no_identifier_stays_byte_for_byte(value: bytes) -> None:
    assert redact(value, KEY) == value


def test_a_missing_value_stays_missing() -> None:
    assert redact(None, KEY) is None


def test_event_ids_that_look_like_identifiers_stay_distinct() -> None:
    """Two events must not become one: a constant in place of their ids would do that."""
    ids = {redact(f'{{"id": "{number}"}}'.encode(), KEY) for number in ("13800138000", "13800138001")}
    assert len(ids) == 2
    assert not any(b"1380013800" in (one or b"") for one in ids)


def test_headers_hold_no_identifiers() -> None:
    assert redact_header("user-id", b"raw-user", KEY) == ("user-id", RAW.encode())
    assert redact_header("ce_userid", b"raw-user", KEY) == ("ce_userid", RAW.encode())
    assert redact_header("ce_subject", b"tel " + PHONE.encode(), KEY) == ("ce_subject", b"tel <PHONE>")
    assert redact_header("x-note", b'{"user_id": "raw-user"}', KEY) == ("x-note", b'{"user_id": "' + RAW.encode() + b'"}')
    assert redact_header("ce_id", b"e-1", KEY) == ("ce_id", b"e-1")
    assert redact_header("ce_id", PHONE.encode(), KEY)[1].startswith(b"p1_")
    assert redact_header("ce_id", None, KEY) == ("ce_id", b"")
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert redact_header("traceparent", parent, KEY) == ("traceparent", parent)


@pytest.mark.parametrize(
    "piece", [b"13800138000,", b'{"user_id": "raw"},', b'user_id\\": \\"', b'"id":{', b"a.", b"1 ", b"\xff1\x00", "电话".encode()]
)
def test_a_long_value_takes_time_in_proportion(piece: bytes) -> None:
    """A 1 MB value of the worst kinds must not hold the worker up."""
    began = time.process_time()
    redact(piece * (1_000_000 // len(piece)), KEY)
    assert time.process_time() - began < 10
