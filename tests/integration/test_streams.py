"""The streams worker on a real Kafka and database: nothing lost, nothing twice, nothing raw."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from schema import rollups
from schema.batches import count_open
from schema.envelope import decode
from schema.events import (
    Classification,
    Consent,
    ConsentWithdrawn,
    LabelApplied,
    MatchedRule,
    QuestionAsked,
    QuestionLabeled,
    TimeIntent,
)
from schema.producer import EventProducer
from schema.publisher import QuestionPublisher
from schema.settings import Settings
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions
from schema.tables import outbox, utc_now
from schema.topics import CONSENT_WITHDRAWN, KEYWORD_COUNTS, QUESTION_ASKED, QUESTION_LABELED
from streams.rollups import recount as recount_rollups
from tests.running import Process, read_all, running, wait_until

WORDS = ("财运", "跳槽", "桃花", "身弱", "用神")


def question(number: int, **changes: object) -> QuestionAsked:
    """A question that differs from its neighbours, with consent and a classification."""
    said = Classification(
        intents=["wealth", "career"] if number % 3 == 0 else ["wealth"],
        confidence=0.5,
        keywords=[WORDS[number % 5], WORDS[(number + 2) % 5]],
        matched_rules=[MatchedRule(keyword=WORDS[number % 5], intent="wealth")],
        method="local_model",
        response_time_ms=1.5,
        is_fortune_related=True,
        model_version="v0",
        rules_revision=0,
    )
    asked = QuestionAsked(
        question=f"第{number}问{chr(0x4E00 + number)}",
        user_id=f"user-{number % 50}",
        consent=Consent(training=True),
        classification=said,
    )
    return asked.model_copy(update=changes)


def number_of(engine: Engine, table: object) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def recount(engine: Engine) -> Counter[tuple[str, str]]:
    """Keyword-intent counts from the stored questions."""
    found: Counter[tuple[str, str]] = Counter()
    with engine.connect() as connection:
        for words, intents in connection.execute(select(questions.c.keywords, questions.c.intents)):
            found.update((word, intent) for word in set(words or []) for intent in intents or [])
    return found


def counted(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as connection:
        return {(k, i): n for k, i, n in connection.execute(select(counts.c.keyword, counts.c.intent, counts.c.total))}


def test_kill_9_in_the_middle_loses_nothing_and_counts_nothing_twice(settings: Settings, engine: Engine) -> None:
    """After kill -9 between batches and a restart: every event once, counts equal a recount, the live view equals both."""
    settings = settings.model_copy(update={"stream_batch": 200})
    total, ids = 4000, [str(uuid.uuid4()) for _ in range(4000)]
    with QuestionPublisher(settings, source="test") as publisher:
        for n in range(total):
            publisher.publish(question(n), event_id=ids[n])
        for n in range(0, total, 40):
            publisher.publish(question(n), event_id=ids[n])
    with Process(settings, "streams", settings.streams_port) as first:
        wait_until(lambda: number_of(engine, questions) > 0, "the first batch is stored")
        first.kill()
    stored = number_of(engine, questions)
    assert 0 < stored < total, "the worker was to be killed in the middle"
    with running(settings, "streams") as processes:
        wait_until(lambda: number_of(engine, questions) == total, "all is stored", 60)
        with engine.connect() as connection:
            found = {uuid.UUID(bytes=i) for i in connection.execute(select(questions.c.event_id)).scalars()}
        assert found == set(map(uuid.UUID, ids))
        assert counted(engine) == recount(engine)
        with engine.connect() as connection:
            assert rollups.read(connection) == recount_rollups(connection)
        wait_until(lambda: live_counts(processes["streams"].url) == counted(engine), "the live view equals the table")


def test_a_worker_that_stands_still_says_so_and_ends_itself(settings: Settings, engine: Engine) -> None:
    """Its writer is stopped, so that it reads and commits nothing while the database answers: a new worker does the work."""
    settings = settings.model_copy(update={"stall_patience": 5.0})
    with Process(settings, "streams", settings.streams_port).ready() as worker:
        [writer] = (Path(f"/proc/{worker.child.pid}/task/{worker.child.pid}/children")).read_text().split()
        os.kill(int(writer), signal.SIGSTOP)
        with QuestionPublisher(settings, source="test") as publisher:
            for n in range(50):
                publisher.publish(question(n))
        wait_until(lambda: "nothing committed for 5 s" in worker.tail(), "it says that it stands still", 40)
        assert worker.child.wait(30) != 0, "its supervisor is to start another"
    assert not Path(f"/proc/{writer}").exists(), "its writer is gone with it"
    with running(settings, "streams"):
        wait_until(lambda: number_of(engine, questions) == 50, "all is stored")


def test_the_metrics_tell_lag_batches_duplicates_and_dead_letters(settings: Settings, engine: Engine) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    with running(settings, "streams") as processes:
        with QuestionPublisher(settings, source="test") as publisher:
            for n in [*range(20), *range(5)]:
                publisher.publish(question(n), event_id=ids[n])
        with EventProducer(settings, source="test") as producer:
            producer.send_raw(QUESTION_ASKED.name(settings.topic_prefix), b"{", key=b"k").result(20)

        def metrics() -> dict[str, float]:
            with urllib.request.urlopen(f"{processes['streams'].url}/metrics", timeout=5) as answer:
                lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
            return {name: float(value) for name, value in lines}

        def outcome(name: str) -> float:
            return metrics().get(f'intentloop_stream_events_total{{agent="persist-questions",outcome="{name}"}}', 0.0)

        wait_until(lambda: outcome("stored") == 20 and outcome("duplicate") == 5, "stored and duplicates are counted")
        dead = 'intentloop_dlq_messages_total{reason="not_json",topic="question.asked"}'
        wait_until(lambda: metrics().get(dead) == 1, "the dead letter is counted")
        lags = f'kafka_consumergroup_group_lag{{group="{settings.group("streams")}"'
        wait_until(lambda: any(name.startswith(lags) for name in metrics()), "the lag is told")
        wait_until(lambda: sum(n for name, n in metrics().items() if name.startswith(lags)) == 0, "there is no lag any more")
        assert metrics()['intentloop_stream_batch_events_count{agent="persist-questions"}'] >= 1


def live_counts(url: str) -> dict[tuple[str, str], int]:
    with urllib.request.urlopen(f"{url}/v1/keyword-counts?limit=10000", timeout=5) as answer:
        return {(c["keyword"], c["intent"]): c["total"] for c in json.load(answer)["counts"]}


def test_bad_records_are_dead_lettered_masked_and_hold_nobody_up(settings: Settings, engine: Engine, kafka: str) -> None:
    topic = QUESTION_ASKED.name(settings.topic_prefix)
    bad: list[bytes | None] = [
        None,
        b"\xff\xfe 13800138000",
        '{"电话": "13800138000"'.encode(),
        b"x" * 300_000,
        json.dumps(
            {"specversion": "1.0", "id": "1", "source": "s", "type": "com.intentloop.question.asked.v7", "data": {}}
        ).encode(),
    ]
    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        for value in bad:
            producer.send_raw(topic, value, key=b"k", headers=[("traceparent", b"00-1")]).result(10)
        producer.send(QUESTION_ASKED, question(1), key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "the good one is stored")
    letters = read_all(kafka, QUESTION_ASKED.dead_letter_name(settings.topic_prefix))
    assert len(letters) == len(bad)
    names = "topic partition offset connector.name task.id stage class.name "
    names += "exception.class.name exception.message exception.stacktrace"
    origins = set()
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers()}
        assert {f"__connect.errors.{name}" for name in names.split()} <= headers.keys()
        assert headers["__connect.errors.topic"] == topic
        assert headers["traceparent"] == "00-1"
        origins.add((headers["__connect.errors.partition"], headers["__connect.errors.offset"]))
        assert b"13800138000" not in (letter.value() or b"")
    assert len(origins) == len(bad)


def test_nothing_raw_is_stored(settings: Settings, engine: Engine) -> None:
    """A producer that masks nothing itself: the worker does it before the database."""
    raw = QuestionAsked(
        question="我电话13800138000，财运？", user_id="raw-user", session_id="raw-session", consent=Consent(training=True)
    )
    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_ASKED, raw, key="raw-user").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
    with engine.connect() as connection:
        row = connection.execute(select(questions)).one()
    assert row.question == "我电话<PHONE>，财运？"
    assert row.user_id.startswith("p1_")
    assert row.session_id.startswith("p1_")
    assert row.intents is None


@pytest.mark.parametrize(("consent", "status"), [(None, "skipped"), (False, "skipped"), (True, "pending")])
def test_without_consent_a_question_is_never_queued(
    settings: Settings, engine: Engine, consent: bool | None, status: str
) -> None:
    asked = question(1, consent=None if consent is None else Consent(training=consent))
    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_ASKED, asked, key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
    with engine.connect() as connection:
        row = connection.execute(select(questions)).one()
    assert (row.training_status, row.consent_training, row.consent_stated) == (status, bool(consent), consent is not None)


def test_labels_are_applied_once_and_relabels_are_history(settings: Settings, engine: Engine, kafka: str) -> None:
    with engine.begin() as connection:
        row = {"keyword": WORDS[1], "intent": "wealth", "confidence_boost": 0.2, "source": "manual"}
        connection.execute(rules.insert(), row | {"created_at": utc_now(), "updated_at": utc_now()})
    now = datetime.now(UTC)

    def label(*intents: str, number: int = 1) -> QuestionLabeled:
        data = {"question_id": number, "correct_intent": intents, "labeler_id": "ann", "labeled_at": now}
        return QuestionLabeled.model_validate(data | {"correct_time_intent": TimeIntent(type="this_year", target_years=[2026])})

    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_ASKED, question(1), key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
        for _ in range(2):  # the same event twice
            producer.send(QUESTION_LABELED, label("wealth"), key="1", event_id="label-1").result(10)
        producer.send(QUESTION_LABELED, label("health", "career"), key="1", event_id="label-2").result(10)
        producer.send(QUESTION_LABELED, label("health", number=999), key="1", event_id="label-3").result(10)
        dlq = QUESTION_LABELED.dead_letter_name(settings.topic_prefix)
        wait_until(lambda: len(read_all(kafka, dlq)) == 1, "the unknown question is dead-lettered")
    with engine.connect() as connection:
        stored = connection.execute(select(questions)).one()
        rule = connection.execute(select(rules)).one()
        events = [LabelApplied.model_validate_json(e) for e in connection.execute(select(outbox.c.event)).scalars()]
    assert number_of(engine, history) == 2
    assert (stored.correct_intent, stored.is_labeled, stored.labeler_id) == (["health", "career"], True, "ann")
    assert stored.correct_time_intent["target_years"] == [2026]
    assert (rule.usage_count, rule.success_count, rule.failure_count) == (1, 0, 1)
    assert [event.is_relabel for event in events] == [False, True]


def test_a_corrected_label_that_was_trained_on_goes_into_the_next_batch(settings: Settings, engine: Engine) -> None:
    def label(intent: str) -> QuestionLabeled:
        data = {"question_id": 1, "correct_intent": [intent], "labeler_id": "ann", "labeled_at": datetime.now(UTC)}
        return QuestionLabeled.model_validate(data)

    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_ASKED, question(1, consent=Consent(training=True)), key="k").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
        for number, (intent, then) in enumerate([("wealth", "pending"), ("wealth", "used"), ("health", "pending")], start=1):
            producer.send(QUESTION_LABELED, label(intent), key="1", event_id=f"label-{number}").result(10)
            wait_until(lambda number=number: number_of(engine, history) == number, "the label is applied")  # type: ignore[misc]
            with engine.begin() as connection:
                stored = connection.execute(select(questions)).one()
                assert stored.training_status == then, number
                if number == 1:
                    used = {"training_status": "used", "training_batch_id": "b-1", "training_model_version": "v1"}
                    connection.execute(update(questions).values(used))
    assert (stored.correct_intent, stored.training_batch_id, stored.training_model_version) == (["health"], None, None)
    with engine.connect() as connection:
        assert count_open(connection) == 1


def test_withdrawn_consent_takes_questions_out_and_keeps_later_ones_out(settings: Settings, engine: Engine) -> None:
    with running(settings, "streams"), EventProducer(settings, source="test") as producer:
        producer.send(QUESTION_ASKED, question(1, user_id="u"), key="u").result(10)
        wait_until(lambda: number_of(engine, questions) == 1, "it is stored")
        gone = ConsentWithdrawn(user_id="u", withdrawn_at=datetime.now(UTC))
        producer.send(CONSENT_WITHDRAWN, gone, key="u").result(10)

        def skipped() -> list[str]:
            with engine.connect() as connection:
                return list(connection.execute(select(questions.c.training_status).order_by(questions.c.id)).scalars())

        wait_until(lambda: skipped() == ["skipped"], "the question has left the queue")
        producer.send(QUESTION_ASKED, question(2, user_id="u"), key="u").result(10)
        wait_until(lambda: skipped() == ["skipped", "skipped"], "a later one is kept out")


def test_sigterm_ends_the_worker_orderly(settings: Settings) -> None:
    with Process(settings, "streams", settings.streams_port) as worker:
        worker.ready()
        assert worker.end(20) == 0, worker.tail()


def test_published_totals_are_absolute(settings: Settings, engine: Engine, kafka: str) -> None:
    with running(settings, "streams"), QuestionPublisher(settings, source="test") as publisher:
        for n in (0, 5, 10):
            publisher.publish(question(n)).result(10)
        wait_until(lambda: number_of(engine, questions) == 3, "all is stored")
    last = {}
    from schema.events import KeywordCounted

    for message in read_all(kafka, KEYWORD_COUNTS.name(settings.topic_prefix), KEYWORD_COUNTS.partitions):
        said = decode(KeywordCounted, message.value()).data
        last[said.keyword, said.intent] = said.total
    assert last == counted(engine) == recount(engine)
