"""Events: what is written can be read, what is bad is named and never quoted."""

import json
import uuid

import pytest

from schema.envelope import MAX_VALUE_BYTES, decode, encode, wrap
from schema.errors import EventError
from schema.events import EVENTS, Classification, QuestionAsked, QuestionLabeled
from schema.ids import uuid7

ANSWER = Classification(
    intents=["wealth", "career"],
    confidence=0.8,
    method="local_model",
    response_time_ms=2.5,
    is_fortune_related=True,
    model_version="v0",
    rules_revision=1,
)
ASKED = QuestionAsked(question="今年适合跳槽吗😀", user_id="u1", classification=ANSWER)


def test_what_is_encoded_is_decoded_equal() -> None:
    envelope = wrap(ASKED, source="test", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert decode(QuestionAsked, encode(envelope)) == envelope


def test_chinese_is_written_literally() -> None:
    assert "今年适合跳槽吗😀".encode() in encode(wrap(ASKED, source="test"))


def test_binary_mode_is_read() -> None:
    headers = [
        ("ce_specversion", b"1.0"),
        ("CE_ID", b"order-7"),
        ("ce_source", b"shop"),
        ("ce_type", b"com.intentloop.question.asked.v1"),
        ("content-type", b"application/json"),
    ]
    envelope = decode(QuestionAsked, json.dumps({"question": "财运"}).encode(), headers)
    assert (envelope.id, envelope.source, envelope.data.question) == ("order-7", "shop", "财运")


@pytest.mark.parametrize("content_type", [b"application/cloudevents+json", b"APPLICATION/CloudEvents+json; charset=UTF-8"])
def test_structured_mode_is_told_by_its_content_type_whatever_its_case(content_type: bytes) -> None:
    value = encode(wrap(ASKED, source="test"))
    assert decode(QuestionAsked, value, [("Content-Type", content_type), ("ce_foo", b"x")]).data == ASKED


def test_ids_that_are_no_uuid_identify_their_event_within_a_source() -> None:
    a, again, other = (wrap(ASKED, source=s, event_id="42") for s in ("a", "a", "b"))
    assert a.key_bytes == again.key_bytes != other.key_bytes
    own = str(uuid.uuid4())
    assert wrap(ASKED, source="a", event_id=own).key_bytes == uuid.UUID(own).bytes


def envelope_with(**changes: object) -> bytes:
    """A question event with parts of its envelope changed."""
    return json.dumps(json.loads(encode(wrap(ASKED, source="test"))) | changes).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"x" * (MAX_VALUE_BYTES + 1), "too_large"),
        (b'{"a":', "not_json"),
        (b'{"a":"\xff\xfe"}', "not_utf8"),
        (b"[1]", "invalid"),
        (envelope_with(type="com.intentloop.question.asked.v2"), "unknown_version"),
        (envelope_with(type="org.example.other"), "unknown_type"),
        (envelope_with(specversion="0.3"), "invalid"),
        (envelope_with(data={"question": ""}), "invalid"),
        (envelope_with(data={"question": "问" * 5000}), "invalid"),
        (envelope_with(data={"question": "问", "surprise": 1}), "invalid"),
        (envelope_with(data={"question": 7}), "invalid"),
    ],
)
def test_a_bad_value_is_refused_with_its_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(EventError) as caught:
        decode(QuestionAsked, value)
    assert caught.value.reason == reason


def test_a_refusal_never_quotes_the_text() -> None:
    with pytest.raises(EventError) as caught:
        decode(QuestionAsked, envelope_with(data={"question": "我的秘密", "gender": "13800138000"}))
    assert "秘密" not in str(caught.value)
    assert "13800138000" not in str(caught.value)


@pytest.mark.parametrize("intents", [[], ["rich"], ["career", "wealth", "health", "marriage"], ["non_fortune", "career"]])
def test_labels_outside_the_taxonomy_are_refused(intents: list[str]) -> None:
    data = {"question_id": 1, "correct_intent": intents, "labeler_id": "a", "labeled_at": "2026-01-01T00:00:00Z"}
    with pytest.raises(EventError, match="correct_intent"):
        decode(QuestionLabeled, envelope_with(type="com.intentloop.question.labeled.v1", data=data))


def test_uuid7_is_a_version_7_uuid_and_later_ones_sort_later() -> None:
    made = [uuid7() for _ in range(50)]
    assert {u.version for u in made} == {7}
    assert sorted(u.int >> 80 for u in made) == [u.int >> 80 for u in made]


def test_event_types_are_all_different() -> None:
    assert len({e.type for e in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("name", ["content-type", "other"])
def test_a_null_header_is_as_none(name: str) -> None:
    value = encode(wrap(QuestionAsked(question="财运"), source="test"))
    assert decode(QuestionAsked, value, [(name, None)]).data.question == "财运"  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["ce_id", "ce_specversion"])
def test_a_null_attribute_is_refused(name: str) -> None:
    value = encode(wrap(QuestionAsked(question="财运"), source="test"))
    with pytest.raises(EventError, match=r"invalid|unknown|field|Field|type|valid"):
        decode(QuestionAsked, value, [(name, None)])  # type: ignore[list-item]


def test_a_field_that_is_not_ours_is_not_quoted() -> None:
    value = b'{"specversion":"1.0","id":"1","source":"s","type":"com.intentloop.question.asked.v1","data":'
    with pytest.raises(EventError) as refused:
        decode(QuestionAsked, value + '{"question":"财运","我老公叫王伟":1}}'.encode())
    assert "王伟" not in str(refused.value)
    assert "data.?" in str(refused.value)
