"""Dead letters: nobody is identified in them, they are found by what is asked for, and only what will be read goes back."""

from __future__ import annotations

import json
import traceback
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from local.dead_letter_views import as_line, as_object, as_text
from local.editor import edit
from schema.dead_letters import PREFIX, REASON, REPLAYED_FROM, Origin, dead_letter
from schema.envelope import CONTENT_TYPE, Headers, decode
from schema.errors import ConfigError, EventError, NotFound, RequestError
from schema.events import QuestionAsked
from schema.privacy import pseudonym
from schema.topics import LABEL_APPLIED, QUESTION_ASKED, QUESTION_LABELED, Topic
from streams.dead_letters import (
    HANDLED,
    Letter,
    Place,
    Selection,
    find_place,
    find_topic,
    gather,
    parse_when,
    read_record,
)
from streams.replay import Unfit, jq_fix, prepare

KEY = "a key for tests only"
PHONE = b"13800138000"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CONNECT = {
    *("topic", "partition", "offset", "connector.name", "task.id", "stage", "class.name"),
    *("exception.class.name", "exception.message", "exception.stacktrace"),
}
STRUCTURED: Headers = [("content-type", CONTENT_TYPE.encode())]


def event(**changes: Any) -> dict[str, Any]:
    """A whole `question.asked` event, with `changes` to its data."""
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "test",
        "type": "com.intentloop.question.asked.v1",
        "data": {"question": "明年财运如何", **changes},
    }


def message(
    value: bytes | None,
    *,
    key: bytes | None = b"k",
    headers: Headers = STRUCTURED,
    topic: Topic = QUESTION_ASKED,
    partition: int = 3,
    offset: int = 17,
    at: int = 0,
    error: EventError | None = None,
    pseudonym_key: str = KEY,
) -> Message:
    """A record of the dead-letter topic, as the worker writes it; `at` is its offset there, and seconds after NOW."""
    letter = dead_letter(
        Origin(f"p.{topic.stem}", partition, offset, "persist-questions", 1_700_000_000_123),
        key,
        value,
        headers,
        error or EventError("not_json", "the value is not JSON"),
        stage="VALUE_CONVERTER",
        pseudonym_key=pseudonym_key,
        at=NOW + timedelta(seconds=at),
    )
    return Message(
        topic=f"p.{topic.stem}.dlq",
        partition=0,
        offset=at,
        key=letter.key,
        value=letter.value,
        headers=letter.headers,
        timestamp=(1, letter.timestamp_ms),
    )


def read(record: Message, topic: Topic = QUESTION_ASKED) -> Letter:
    letter = read_record(record, topic, "p.")
    assert isinstance(letter, Letter)
    return letter


def mark(how: str, *, at: int) -> Message:
    headers = [(HANDLED, how.encode())]
    return Message(topic="p.question.asked.dlq", partition=0, offset=at, key=b"p.question.asked:3:17", headers=headers)


def test_a_dead_letter_keeps_the_record_and_says_why_it_died() -> None:
    headers = [("traceparent", b"00-1"), ("x", b"1"), ("x", b"2")]
    letter = read(message(b'{"a": 1', key=None, headers=headers))
    assert (letter.value, letter.key, letter.size) == (b'{"a": 1', None, 7)
    assert letter.original_headers == headers
    assert {PREFIX + name for name in CONNECT} <= {name for name, _ in letter.headers}
    assert (letter.reason, letter.message) == ("not_json", "the value is not JSON")
    assert str(letter.id) == "p.question.asked:3:17"
    assert str(letter.place) == "p.question.asked.dlq:0:0"
    assert letter.timestamp == datetime.fromtimestamp(1_700_000_000.123, UTC)
    assert letter.died_at == NOW


def test_error_headers_that_the_record_came_with_are_kept_and_do_not_change_its_id() -> None:
    came = [(PREFIX + "topic", b"elsewhere"), (REASON, b"forged"), (HANDLED, b"replayed"), (REPLAYED_FROM, b"a:0:1")]
    letter = read(message(b"x", headers=came))
    assert letter.header(PREFIX + "topic") == "elsewhere"
    assert letter.reason == "not_json"
    assert letter.header(REPLAYED_FROM) == "a:0:1"
    assert str(letter.id) == "p.question.asked:3:17"


def test_a_users_key_is_replaced_by_the_pseudonym_that_the_database_has() -> None:
    safe = pseudonym("raw-user", KEY).encode()
    assert read(message(b"x", key=b"raw-user")).key == safe
    assert read(message(b"x", key=safe)).key == safe
    assert read(message(b"x", key=b"raw-user", pseudonym_key="")).key == b"<USER>"
    assert read(message(b"x", key=b"raw-user", headers=[("ce_subject", b"raw-user")])).original_headers == [("ce_subject", safe)]
    assert (read(message(b"x", key=b"\xff\xfe")).key or b"").startswith(b"p1_")


def test_a_key_that_names_no_user_is_kept() -> None:
    assert read(message(b'{"id": "e-1", ', key=b"e-1")).key == b"e-1"
    assert read(message(b"{}", key=b"e-1", headers=[("ce_id", b"e-1")])).key == b"e-1"
    assert read(message(b"x", key=b"17", topic=QUESTION_LABELED), QUESTION_LABELED).key == b"17"


def test_nothing_is_unmasked_in_value_headers_message_and_trace() -> None:
    try:
        try:
            raise ValueError("(1406, 'x')\n[SQL: INSERT INTO q VALUES ('会发财吗')]\n(Background on this error at: y)")
        except ValueError as cause:
            raise EventError("invalid", f"data.{PHONE.decode()}: Extra inputs are not permitted") from cause
    except EventError as error:
        trace = "".join(traceback.format_exception(error))
        value = json.dumps({"电话": f"打{PHONE.decode()}", "user_id": "raw-user"}).encode()
        headers = [("note", PHONE), ("user_id", b"raw-user"), (PHONE.decode(), b"")]
        origin = Origin("question.asked", 0, 1, "c")
        letter = dead_letter(origin, PHONE, value, headers, error, stage="s", trace=trace, pseudonym_key=KEY)
    everything = repr(letter).encode()
    assert PHONE not in everything
    assert b"raw-user" not in everything
    assert "会发财吗" not in dict(letter.headers)[PREFIX + "exception.stacktrace"].decode()
    assert b"EventError: data.<PHONE>" in dict(letter.headers)[PREFIX + "exception.stacktrace"]


def test_message_and_trace_are_bounded() -> None:
    origin = Origin("question.asked", 0, 1, "c")
    letter = dead_letter(origin, None, b"x", [], EventError("invalid", "m" * 10**6), stage="s", trace="t" * 10**6)
    assert sum(len(value) for _, value in letter.headers) < 20_000


def test_copies_of_one_record_are_one_dead_letter() -> None:
    """The worker died between the dead letter and the commit, and wrote it again."""
    [letter] = gather(read_record(message(b"x", at=at), QUESTION_ASKED, "p.") for at in (0, 1))
    assert (letter.copies, letter.place.offset) == (2, 0)


def test_a_mark_handles_what_stands_before_it_and_nothing_after() -> None:
    records = [message(b"x", at=0), message(b"x", at=1), mark("replayed", at=2)]
    [letter] = gather(read_record(record, QUESTION_ASKED, "p.") for record in records)
    assert letter.handled is not None
    assert letter.handled.how == "replayed"
    [letter] = gather(read_record(record, QUESTION_ASKED, "p.") for record in [*records, message(b"x", at=3)])
    assert letter.handled is None


def test_each_filter_narrows_the_selection() -> None:
    asked = read(message(b"x", at=60))
    labeled = read(message(b"x", topic=QUESTION_LABELED, error=EventError("invalid", "")), QUESTION_LABELED)
    both = [asked, labeled]

    def taken(**filters: Any) -> list[Letter]:
        return [letter for letter in both if Selection(**filters).takes(letter)]

    assert taken() == both
    assert taken(topic=QUESTION_ASKED) == taken(reason="not_json") == taken(since=NOW + timedelta(seconds=1)) == [asked]
    assert taken(topic=QUESTION_ASKED, reason="invalid") == []
    assert taken(ids=frozenset([labeled.id])) == taken(ids=frozenset([labeled.place])) == [labeled]


def test_an_id_that_nothing_has_is_an_error() -> None:
    wanted = Selection(ids=frozenset([Place("p.question.asked", 0, 1)]))
    with pytest.raises(NotFound, match=r"p\.question\.asked:0:1: .*dlq list"):
        wanted.check_found([read(message(b"x"))])


@pytest.mark.parametrize("name", ["question.asked", "p.question.asked", "question.asked.dlq", "p.question.asked.dlq"])
def test_a_topic_may_be_named_with_or_without_prefix_and_dlq(name: str) -> None:
    assert find_topic(name, "p.") is QUESTION_ASKED
    assert str(find_place(f"{name}:3:17", "p.")) == f"p.question.asked{'.dlq' if name.endswith('dlq') else ''}:3:17"


@pytest.mark.parametrize("text", ["", "question.asked", "question.asked:1", "question.asked:a:1", "keyword.counts:0:1", ":0:1"])
def test_what_is_no_id_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RequestError) as refusal:
        find_place(text, "")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T08:30:00+08:00", datetime(2026, 11, 23, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_an_age_or_a_date(text: str, moment: datetime) -> None:
    assert parse_when(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "999999d", "5w"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        parse_when(text, NOW)


def test_what_goes_back_is_the_original_with_a_word_on_where_it_came_from() -> None:
    value = json.dumps(event(), ensure_ascii=False).encode()
    headers = [*STRUCTURED, ("traceparent", b"00-1")]
    made = prepare(read(message(value, headers=headers, key=b"p1_" + b"0" * 32)))
    assert made.value == value
    assert made.key == b"p1_" + b"0" * 32
    assert made.headers == [*headers, (REPLAYED_FROM, b"p.question.asked:3:17")]


def test_what_would_be_refused_again_is_not_sent() -> None:
    with pytest.raises(Unfit, match=r"p\.question\.asked:3:17 would be refused again \(not_json: .*--fix") as refusal:
        prepare(read(message(b'{"a": 1')))
    assert refusal.value.code == "not_json"
    with pytest.raises(Unfit, match="tombstone"):
        prepare(read(message(None)))


def test_a_fix_is_given_the_json_value_and_its_result_goes_back() -> None:
    letter = read(message(json.dumps(event(zodiac="龙")).encode()))
    made = prepare(letter, jq_fix("del(.data.zodiac)"))
    assert json.loads(made.value or b"") == event()


@pytest.mark.parametrize(
    ("broken", "fix"),
    [
        (json.dumps(event()).encode()[:-1], '. + "}"'),
        (json.dumps(event()).encode() + b",", 'rtrimstr(",") | fromjson'),
        (b"\xff" + json.dumps(event()).encode(), ".[1:]"),
        (None, json.dumps(event())),
        (b"NaN", json.dumps(event())),
        (b"[" * 100_000, json.dumps(event())),
    ],
)
def test_a_fix_is_given_what_is_not_json_as_one_string(broken: bytes | None, fix: str) -> None:
    made = prepare(read(message(broken)), jq_fix(fix))
    assert decode(QuestionAsked, made.value, made.headers).id == "e-1"


@pytest.mark.parametrize("fix", [".data.", "nosuch(1)"])
def test_a_fix_that_is_no_jq_is_refused_in_one_line(fix: str) -> None:
    with pytest.raises(ConfigError, match="--fix is no jq expression") as refusal:
        jq_fix(fix)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("fix", [".data[0]", "empty", "1, 2", "null", "del(.data.question)", "{}", '"x"'])
def test_a_fix_without_one_valid_result_names_the_dead_letter_in_one_line(fix: str) -> None:
    with pytest.raises(Unfit, match=r"^p\.question\.asked:3:17") as refusal:
        prepare(read(message(json.dumps(event()).encode())), jq_fix(fix))
    assert "\n" not in str(refusal.value)


def test_a_record_without_an_id_gets_one_that_is_the_same_each_time() -> None:
    without = {name: said for name, said in event().items() if name != "id"}
    letter = read(message(json.dumps(without).encode()))
    first, second = prepare(letter), prepare(letter)
    assert first == second
    assert uuid.UUID(decode(QuestionAsked, first.value, first.headers).id)
    other = prepare(read(message(json.dumps(without).encode(), offset=18)))
    assert decode(QuestionAsked, other.value, other.headers).id != decode(QuestionAsked, first.value, first.headers).id


def test_an_id_that_the_fix_gives_is_kept() -> None:
    made = prepare(read(message(b"broken")), jq_fix(json.dumps(event())))
    assert decode(QuestionAsked, made.value, made.headers).id == "e-1"


def test_a_binary_record_is_repaired_in_its_data_or_replaced_by_a_whole_event() -> None:
    attributes = {"specversion": "1.0", "source": "test", "type": "com.intentloop.question.asked.v7"}
    headers = [(f"ce_{name}", said.encode()) for name, said in attributes.items()]
    right = [*headers[:2], ("ce_type", b"com.intentloop.question.asked.v1")]
    made = prepare(read(message(b'{"question": ""}', headers=right)), jq_fix('.question = "会发财吗"'))
    envelope = decode(QuestionAsked, made.value, made.headers)
    assert envelope.data.question == "会发财吗"
    assert uuid.UUID(envelope.id)
    whole = prepare(read(message(b'{"question": "x"}', headers=headers)), jq_fix(json.dumps(event())))
    assert decode(QuestionAsked, whole.value, whole.headers).id == "e-1"
    assert not [name for name, _ in whole.headers if name.startswith("ce_")]


def test_what_was_masked_without_a_key_is_not_sent_under_a_common_user() -> None:
    letter = read(message(json.dumps(event(user_id="raw")).encode(), key=b"raw", pseudonym_key=""))
    with pytest.raises(Unfit, match=r"del\(\.data\.user_id"):
        prepare(letter)
    assert prepare(letter, jq_fix("del(.data.user_id)")).key is None


def test_a_user_is_the_same_after_a_replay() -> None:
    letter = read(message(json.dumps(event(user_id="raw")).encode(), key=b"raw"))
    made = prepare(letter)
    assert decode(QuestionAsked, made.value, made.headers).data.user_id == pseudonym("raw", KEY)


def test_every_topic_of_dead_letters_has_an_event_to_check_against() -> None:
    letter = read(message(b"{}", topic=LABEL_APPLIED), LABEL_APPLIED)
    with pytest.raises(Unfit, match="invalid"):
        prepare(letter)


def test_control_characters_do_not_reach_the_terminal() -> None:
    letter = read(message(b"\x1b[2J\x9b \xe2\x80\xae", error=EventError("invalid", "a\x1b]0;x\x07\nb")))
    for shown in (as_line(letter), as_text(letter)):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert "\n" not in as_line(letter)


def test_json_output_holds_all_of_it_also_what_is_no_text() -> None:
    shown = as_object(read(message(b"\xff\xfe")))
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["value"], shown["value_base64"]) == (None, "//4=")
    assert shown["reason"] == "not_json"
    assert {PREFIX + name for name in CONNECT} <= {header["name"] for header in shown["headers"]}


def test_an_editor_changes_the_value_and_leaves_no_file_behind(tmp_path: Path) -> None:
    command = tmp_path / "editor"
    command.write_text(f'#!/bin/sh\necho "$2" > {tmp_path}/seen\nsed -i s/a/b/ "$2"\n')
    command.chmod(0o755)
    assert edit(b"a", {"EDITOR": "false", "VISUAL": f"{command} --wait"}) == b"b"
    assert not Path((tmp_path / "seen").read_text().strip()).exists()


@pytest.mark.parametrize("environ", [{}, {"EDITOR": "false"}, {"EDITOR": "/no/such/editor"}])
def test_without_a_working_editor_one_line_says_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="editor"):
        edit(b"a", environ)
