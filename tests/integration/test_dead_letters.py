"""``intentloop dlq`` against a real Kafka, database and streams worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from schema.dead_letters import REPLAYED_FROM
from schema.envelope import CONTENT_TYPE, encode, wrap
from schema.events import Consent, QuestionAsked, QuestionLabeled
from schema.producer import EventProducer
from schema.settings import Settings, environment
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_user_questions as questions
from schema.topics import QUESTION_ASKED, QUESTION_LABELED
from streams.dead_letter_log import read_box
from streams.replay import jq_fix, prepare, send
from tests.running import ROOT, read_all, running, wait_until

USER = "p1_0123456789abcdef0123456789abcdef"
STRUCTURED = [("content-type", CONTENT_TYPE.encode())]
CLASSIFIED: dict[str, Any] = {
    "intents": ["wealth"],
    "confidence": 0.5,
    "keywords": ["财运"],
    "method": "local_model",
    "response_time_ms": 1,
    "is_fortune_related": True,
    "model_version": "v0",
    "rules_revision": 0,
}


def dlq(settings: Settings, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """``intentloop dlq ARGUMENTS`` as a person or script runs it; nobody answers its questions."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("INTENTLOOP_")} | environment(settings) | environ
    command = [sys.executable, "-m", "intentloop", "dlq", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def listed(settings: Settings, *filters: str) -> list[dict[str, Any]]:
    done = dlq(settings, "list", "--json", *filters)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def fails(done: subprocess.CompletedProcess[str], status: int, says: str) -> None:
    """It ended with `status` and one line on stderr that holds `says`."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def number_of(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def totals(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as connection:
        return {(k, i): n for k, i, n in connection.execute(select(counts.c.keyword, counts.c.intent, counts.c.total))}


def event(number: int, **data: Any) -> dict[str, Any]:
    data = {
        "question": f"第{number}问",
        "user_id": USER,
        "consent": {"training": True},
        "classification": CLASSIFIED,
    } | data
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "test",
        "type": "com.intentloop.question.asked.v1",
        "data": data,
    }


def send_raw(settings: Settings, *values: bytes | None, key: bytes | None = USER.encode(), timestamp_ms: int = 0) -> None:
    with EventProducer(settings, source="test") as producer:
        for value in values:
            producer.send_raw(
                QUESTION_ASKED.name(settings.topic_prefix),
                value,
                key=key,
                headers=[*STRUCTURED, ("phone", b"13800138000"), ("traceparent", b"00-1")],
                timestamp_ms=timestamp_ms,
            ).result(10)


def wait_for_letters(settings: Settings, number: int) -> None:
    """Wait until `number` dead letters wait."""

    def waiting() -> int:
        return sum(letter.handled is None for letter in read_box(settings).letters)

    wait_until(lambda: waiting() == number, f"{number} dead letters wait")


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def test_poison_is_listed_shown_repaired_and_then_stored_and_counted_once(settings: Settings, engine: Engine, kafka: str) -> None:
    produced_at = datetime(2026, 11, 24, 8, 30, 0, 123000, tzinfo=UTC)
    broken = compact(event(1, question="打13800138000问财运"))[:-1]
    invalid = compact(event(2, zodiac="龙"))
    with running(settings, "streams"):
        send_raw(settings, broken, invalid, timestamp_ms=round(produced_at.timestamp() * 1000))
        wait_for_letters(settings, 2)

        by_reason = {letter["reason"]: letter for letter in listed(settings)}
        assert by_reason.keys() == {"not_json", "invalid"}
        assert "data.zodiac" in by_reason["invalid"]["message"]
        assert [one["reason"] for one in listed(settings, "--reason", "invalid")] == ["invalid"]
        assert listed(settings, "--topic", "question.labeled") == []
        assert listed(settings, "--since", "2099-01-01") == []
        assert len(listed(settings, "--since", "1h")) == 2

        name = by_reason["not_json"]["id"]
        done = dlq(settings, "show", name, "--json")
        shown = json.loads(done.stdout)
        assert "13800138000" not in done.stdout
        assert datetime.fromisoformat(shown["timestamp"]) == produced_at
        assert {"name": "traceparent", "value": "00-1"} in shown["headers"]
        assert sum(header["name"].startswith("__connect.errors.") for header in shown["headers"]) == 10
        text = dlq(settings, "show", name.removeprefix(settings.topic_prefix))
        assert "打<PHONE>问财运" in text.stdout, "its prefix may be left out"

        fails(dlq(settings, "replay", name), 1, "would be refused again (not_json")
        fails(dlq(settings, "replay", "--all", "--fix", ".data"), 1, "Nothing was sent.")
        fails(dlq(settings, "replay", "--all", "--fix", ".data |"), 2, "--fix is no jq expression")
        assert number_of(engine, questions) == 0

        assert dlq(settings, "replay", name, "--fix", '. + "}"').stdout == "1 replayed\n"
        done = dlq(settings, "replay", "--reason", "invalid", "--fix", "del(.data.zodiac)", "--json")
        assert json.loads(done.stdout) == {"id": by_reason["invalid"]["id"], "outcome": "replayed"}
        wait_until(lambda: number_of(engine, questions) == 2, "both are stored")
        assert totals(engine) == {("财运", "wealth"): 2}
        assert listed(settings) == []
        assert {one["handled"]["how"] for one in listed(settings, "--handled")} == {"replayed"}

        again = dlq(settings, "replay", name, "--fix", '. + "}"')
        assert (again.returncode, again.stdout) == (0, "0 replayed, 1 handled before\n")
        with EventProducer(settings, source="test") as producer:
            producer.send(QUESTION_ASKED, QuestionAsked(question="最后"), key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 3, "what came last is stored")
        assert totals(engine) == {("财运", "wealth"): 2}
    with engine.connect() as connection:
        users = set(connection.execute(select(questions.c.user_id).where(questions.c.user_id.is_not(None))).scalars())
    assert users == {USER}
    origins = QUESTION_ASKED.name(settings.topic_prefix)
    back = [m for m in read_all(kafka, origins, QUESTION_ASKED.partitions) if REPLAYED_FROM in dict(m.headers() or [])]
    assert {dict(m.headers())[REPLAYED_FROM].decode() for m in back} == {one["id"] for one in by_reason.values()}
    assert all(f"{m.topic()}:{m.partition()}" in dict(m.headers())[REPLAYED_FROM].decode() for m in back)
    assert not [name for m in back for name, _ in m.headers() if name.startswith("__connect.errors.")]


def test_a_producer_that_masks_nothing_is_not_exposed_by_its_dead_letters(settings: Settings, kafka: str) -> None:
    with running(settings, "streams"):
        send_raw(
            settings, compact(event(1, user_id="raw-user"))[:-1], compact(event(2, user_id="raw-user", x=1)), key=b"raw-user"
        )
        wait_for_letters(settings, 2)
    for letter in read_all(kafka, QUESTION_ASKED.dead_letter_name(settings.topic_prefix)):
        everything = repr((letter.key(), letter.value(), letter.headers()))
        assert "raw-user" not in everything
        assert "13800138000" not in everything


def test_a_replay_that_dies_before_its_mark_counts_nothing_twice(settings: Settings, engine: Engine) -> None:
    """The event was sent, and nobody remembers: the next replay sends it again. One had no id of its own."""
    nameless = {name: said for name, said in event(2).items() if name != "id"}
    with running(settings, "streams"):
        send_raw(settings, compact(event(1, zodiac="龙")), compact(nameless))
        wait_for_letters(settings, 2)
        fix = jq_fix("del(.data.zodiac)")
        for _ in range(2):  # what was read before the mark knows of none
            replays = [prepare(letter, fix) for letter in read_box(settings, keep_value=lambda _: True).letters]
            send(settings, replays)
        with EventProducer(settings, source="test") as producer:
            for partition in range(QUESTION_ASKED.partitions):  # behind every replayed one stands a last one
                topic = QUESTION_ASKED.name(settings.topic_prefix)
                last = encode(wrap(QuestionAsked(question="最后"), source="test", event_id=f"last-{partition}"))
                producer.send_raw(topic, last, key=None, partition=partition, headers=STRUCTURED).result(10)
        wait_until(lambda: number_of(engine, questions) == 2 + QUESTION_ASKED.partitions, "all is stored")
    assert totals(engine) == {("财运", "wealth"): 2}


def test_what_is_refused_again_is_a_new_dead_letter_and_can_be_replayed_once_it_fits(settings: Settings, engine: Engine) -> None:
    label = QuestionLabeled.model_validate(
        {"question_id": 1, "correct_intent": ["wealth"], "labeler_id": "ann", "labeled_at": datetime.now(UTC)}
    )
    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_LABELED, label, key="1", event_id="label-1").result(10)
        wait_for_letters(settings, 1)
        [first] = listed(settings, "--reason", "unknown_question")
        assert dlq(settings, "replay", "--all").stdout == "1 replayed\n"
        wait_for_letters(settings, 1)
        [second] = listed(settings)
        assert second["id"] != first["id"]
        assert first["id"] in dlq(settings, "show", second["id"]).stdout, "it says where it came from"
        producer.send(QUESTION_ASKED, QuestionAsked(question="财运", consent=Consent(training=True)), key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "the question is stored")
        assert dlq(settings, "replay", "--topic", "question.labeled").stdout == "1 replayed\n"

        def labeled() -> bool:
            with engine.connect() as connection:
                return bool(connection.execute(select(questions.c.is_labeled)).scalar_one())

        wait_until(labeled, "the label is applied")
        assert listed(settings) == []


def test_an_editor_repairs_one_and_leaves_what_it_does_not_change(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i '/zodiac/d' \"$1\"\n")
    editor.chmod(0o755)
    with running(settings, "streams"):
        send_raw(settings, compact(event(1, zodiac="龙", user_id=None)), b"broken")
        wait_for_letters(settings, 2)
        done = dlq(settings, "replay", "--all", "--edit", EDITOR=str(editor))
        assert (done.returncode, done.stdout) == (1, ""), "a comma too many is left: not valid, nothing is sent"
        editor.write_text('#!/bin/sh\nsed -i \'s/"zodiac": .*/"gender": "male"/\' "$1"\n')
        done = dlq(settings, "replay", "--all", "--edit", EDITOR=str(editor))
        assert done.stdout == "1 replayed, 1 unchanged\n", done.stderr
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
    fails(dlq(settings, "replay", "--all", "--edit", EDITOR="", VISUAL=""), 2, "set EDITOR")


def test_purge_removes_for_good_what_was_chosen_and_only_that(settings: Settings, kafka: str) -> None:
    topic = QUESTION_ASKED.dead_letter_name(settings.topic_prefix)
    with running(settings, "streams"):
        send_raw(settings, b"1", key=b"k")
        wait_for_letters(settings, 1)
        send_raw(settings, None, b"{", key=b"k")
        wait_for_letters(settings, 3)
    assert [one["reason"] for one in listed(settings)] == ["invalid", "tombstone", "not_json"]
    fails(dlq(settings, "purge", "--all"), 2, "--yes")
    fails(dlq(settings, "purge", "--yes"), 2, "--all")
    assert len(listed(settings)) == 3

    done = dlq(settings, "purge", "--reason", "tombstone", "--yes", "--json")
    assert json.loads(done.stdout) == {"purged": 1, "deleted_records": 0, "waiting": 1}, "one stands before it"
    assert [one["reason"] for one in listed(settings)] == ["invalid", "not_json"]
    first = listed(settings)[0]["id"]
    done = dlq(settings, "purge", first, "--yes")
    assert done.stdout == "1 purged; 2 records deleted from Kafka\n", "the one behind it is gone, too"
    assert [m.value() for m in read_all(kafka, topic) if m.value() is not None] == [b"{"]
    assert [one["reason"] for one in listed(settings)] == ["not_json"]

    assert dlq(settings, "purge", "--all", "--yes").returncode == 0
    assert listed(settings, "--handled") == []
    assert read_all(kafka, topic) == []
    fails(dlq(settings, "show", first), 1, "there is no dead letter")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("list", "--topic", "keyword.counts"), 1, "no topic that has dead letters"),
        (("list", "--since", "soon"), 2, "--since"),
        (("show", "question.asked"), 1, "question.asked:3:17"),
        (("show", "question.asked:0:99"), 1, "there is no dead letter"),
        (("replay",), 2, "--all"),
        (("replay", "--all", "--topic", "question.asked"), 2, "only one of these"),
        (("replay", "--all", "--fix", ".", "--edit"), 2, "--fix and --edit"),
        (("purge", "question.asked:0:99", "--yes"), 1, "there is no dead letter"),
    ],
)
def test_a_mistake_ends_with_one_line_that_says_what_to_do(
    settings: Settings, arguments: tuple[str, ...], status: int, says: str
) -> None:
    fails(dlq(settings, *arguments), status, says)


def test_without_topics_or_kafka_one_line_says_what_to_do(settings: Settings) -> None:
    fails(dlq(settings, "list", INTENTLOOP_TOPIC_PREFIX="elsewhere."), 2, "intentloop migrate")
    fails(dlq(settings, "list", INTENTLOOP_KAFKA=""), 2, "INTENTLOOP_KAFKA")
    fails(dlq(settings, "list", INTENTLOOP_KAFKA="127.0.0.1:1"), 70, "INTENTLOOP_KAFKA")
