"""Relay, trigger and trainer on a real Kafka and database, through crashes."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import Connection, Engine, func, select, update

from api import queue
from consumers.registry import register_builtin
from consumers.relay import publish_outbox
from consumers.trainer import Trainer
from consumers.training_data import Run, begin, finish, holds, save_rules, save_suspects
from consumers.trigger import consider
from intentloop import BUILTIN
from schema.batches import cancel, make_batch, request_run
from schema.database import in_transaction
from schema.envelope import decode
from schema.errors import Conflict, TransientError
from schema.events import LabelApplied, TrainingFinished, TrainingRequested
from schema.outbox import enqueue
from schema.producer import EventProducer
from schema.settings import Settings
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_model_versions as versions
from schema.tables import intent_user_questions as questions
from schema.tables import outbox, utc_now
from schema.text import text_hash
from schema.topics import LABEL_APPLIED, TRAINING_FINISHED, TRAINING_REQUESTED
from streams.rollups import refill
from tests.running import Process, read_all, running, wait_until


def add_labelled(connection: Connection, rows: Sequence[tuple[str, list[str]]]) -> None:
    """Stored questions that a person labelled and whose askers agreed to training."""
    now = utc_now()
    connection.execute(
        questions.insert(),
        [
            {
                "event_id": uuid.uuid4().bytes,
                "question": text,
                "text_hash": text_hash(text),
                "is_labeled": True,
                "correct_intent": intents,
                "labeler_id": "test",
                "labeled_at": now,
                "consent_training": True,
                "consent_stated": True,
                "asked_at": now,
                "created_at": now,
                "updated_at": now,
            }
            for text, intents in rows
        ],
    )
    refill(connection)


def varied(number: int) -> list[tuple[str, list[str]]]:
    """Labelled questions, no two alike."""
    kinds = [("财运", "wealth"), ("事业", "career"), ("姻缘", "marriage"), ("身体", "health")]
    return [(f"想问{chr(0x4E00 + n)}{kinds[n % 4][0]}如何", [kinds[n % 4][1]]) for n in range(number)]


def batch_rows(engine: Engine) -> list[dict[str, object]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(batches).order_by(batches.c.id)).mappings()]


def test_what_was_committed_is_published_after_a_crash_in_order(settings: Settings, engine: Engine, kafka: str) -> None:
    """The state changed and its process died before it could publish: the next relay does, in order, with the same ids."""
    asked = [TrainingRequested(batch_id=f"b-{n}", task="fine_tune", trigger="manual") for n in range(30)]
    for event in asked:
        in_transaction(engine, partial(enqueue, topic=TRAINING_REQUESTED, event=event, key="k"))
    with engine.connect() as connection:
        ids = [str(uuid.UUID(bytes=i)) for i in connection.execute(select(outbox.c.event_id).order_by(outbox.c.id)).scalars()]

    class Crash(Exception):
        pass

    def publish_and_die(connection: Connection) -> None:
        with EventProducer(settings, source="test") as producer:
            publish_outbox(connection, producer)
        raise Crash  # after the broker has everything, before COMMIT

    with pytest.raises(Crash):
        in_transaction(engine, publish_and_die)
    topic = TRAINING_REQUESTED.name(settings.topic_prefix)
    with running(settings, "trainer"):
        wait_until(lambda: len(read_all(kafka, topic)) == 60, "the rows are published again")
    said = [decode(TrainingRequested, record.value()) for record in read_all(kafka, topic)]
    assert [e.id for e in said] == ids + ids, "a repeat keeps order and ids, so that consumers know it"
    assert [e.data.batch_id for e in said[30:]] == [e.batch_id for e in asked]
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar_one() == 0


def test_two_triggers_fire_once(settings: Settings, engine: Engine, kafka: str) -> None:
    """Two trainer processes hear the labels at the same time: one batch with every question once, one event."""
    in_transaction(engine, lambda connection: add_labelled(connection, varied(100)))
    second = settings.model_copy(update={"trainer_port": settings.streams_port})
    with Process(settings, "trainer", settings.trainer_port) as one, Process(second, "trainer", second.trainer_port) as two:
        one.ready()
        two.ready()
        with EventProducer(settings, source="test") as producer:
            for number in range(100):
                event = LabelApplied(
                    question_id=number + 1,
                    correct_intent=["wealth"],
                    labeler_id="test",
                    is_relabel=False,
                    applied_at=datetime.now(UTC),
                )
                producer.send(LABEL_APPLIED, event, key=str(number))
        topic = TRAINING_REQUESTED.name(settings.topic_prefix)
        wait_until(lambda: read_all(kafka, topic), "a training is requested")
        # All 100 labels are handled once the group's offsets are at the end of the topic.
        wait_until(lambda: lag(settings, kafka) == 0, "every label is handled")
        assert len(read_all(kafka, topic)) == 1
    [batch] = batch_rows(engine)
    assert (batch["trigger"], batch["question_count"], batch["labeled_count"]) == ("threshold", 100, 100)


def lag(settings: Settings, kafka: str) -> int:
    """Label events that the trigger's group has not committed yet."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": settings.group("trigger")})
    topic = LABEL_APPLIED.name(settings.topic_prefix)
    try:
        partitions = [TopicPartition(topic, p) for p in range(LABEL_APPLIED.partitions)]
        done = {p.partition: p.offset for p in consumer.committed(partitions, timeout=10)}
        ends = {p.partition: consumer.get_watermark_offsets(p, timeout=10)[1] for p in partitions}
        return sum(ends[p] - max(0, done[p]) for p in ends)
    finally:
        consumer.close()


def test_below_the_floor_nothing_is_trained(settings: Settings, engine: Engine) -> None:
    """100 labels, but an intent with one example only: the trigger waits; four more of it, and it fires."""
    rare = [("海中金是啥样的命", ["nayin"])]
    in_transaction(engine, lambda connection: add_labelled(connection, [*varied(100), *rare]))
    assert in_transaction(engine, lambda connection: consider(connection, settings)) is None
    more = [(f"{text}好不好", ["nayin"]) for text in ("炉中火", "大林木", "路旁土", "剑锋金")]
    in_transaction(engine, lambda connection: add_labelled(connection, more))
    assert in_transaction(engine, lambda connection: consider(connection, settings)) is not None


def test_a_training_process_that_dies_fails_the_batch_and_releases_its_members(
    settings: Settings, engine: Engine, kafka: str
) -> None:
    register_builtin(settings, engine, BUILTIN)
    in_transaction(engine, lambda connection: add_labelled(connection, varied(20)))
    batch_id = in_transaction(engine, lambda c: make_batch(c, task="fine_tune", trigger="manual")).batch_id
    in_transaction(engine, lambda connection: request_run(connection, batch_id))
    dies = (sys.executable, "-c", "import sys; print('out of memory', file=sys.stderr); sys.exit(9)")
    Trainer(engine, settings, command=dies).train(batch_id)
    [batch] = batch_rows(engine)
    assert batch["training_status"] == "failed"
    assert batch["error_message"] == "the training process ended with code 9: out of memory"
    with engine.connect() as connection:
        released = connection.execute(select(questions.c.training_batch_id, questions.c.training_status)).all()
    assert {tuple(row) for row in released} == {(None, "pending")}
    with EventProducer(settings, source="test") as producer:
        in_transaction(engine, lambda connection: publish_outbox(connection, producer))
    [said] = read_all(kafka, TRAINING_FINISHED.name(settings.topic_prefix))
    assert decode(TrainingFinished, said.value()).data.outcome == "failed"


def test_a_trainer_killed_in_training_leaves_no_child_and_the_next_one_finishes_the_batch(
    settings: Settings, engine: Engine
) -> None:
    """kill -9 in the middle: the child dies too; the restarted trainer trains the same batch under the same version."""
    register_builtin(settings, engine, BUILTIN)
    in_transaction(engine, lambda connection: add_labelled(connection, varied(40)))
    batch_id = in_transaction(engine, lambda c: make_batch(c, task="fine_tune", trigger="manual")).batch_id
    in_transaction(engine, lambda connection: request_run(connection, batch_id))
    with Process(settings, "trainer", settings.trainer_port) as first:
        first.ready()
        wait_until(lambda: batch_rows(engine)[0]["progress"], "the training is under way", 60)
        [child] = children(first.child.pid)
        first.kill()
        wait_until(lambda: not is_running(child), "the child is gone", 10)
    assert batch_rows(engine)[0]["training_status"] == "training"
    with running(settings, "trainer"):
        wait_until(lambda: batch_rows(engine)[0]["training_status"] in {"completed", "rejected"}, "the batch ends", 180)
    [batch] = batch_rows(engine)
    assert (batch["attempt"], batch["model_version"]) == (2, "v1")
    with engine.connect() as connection:
        assert connection.execute(select(versions.c.version).order_by(versions.c.id)).scalars().all() == ["v0", "v1"]
        statuses = set(connection.execute(select(questions.c.training_status)).scalars())
    assert statuses == {"used"}


def test_a_cancelled_training_ends_its_child_and_releases_its_members(settings: Settings, engine: Engine, kafka: str) -> None:
    """Cancelled while the child works: it ends, no version comes of it, and the labels wait for the next batch."""
    register_builtin(settings, engine, BUILTIN)
    in_transaction(engine, lambda connection: add_labelled(connection, varied(40)))
    batch_id = in_transaction(engine, lambda c: make_batch(c, task="fine_tune", trigger="manual")).batch_id
    works = (sys.executable, "-c", 'import sys; print(\'{"progress": {"stage": "prepare"}}\', flush=True); sys.stdin.read()')
    trainer = Trainer(engine, settings, command=works)
    with ThreadPoolExecutor(1) as thread:
        running_batch = thread.submit(trainer.train, batch_id)
        wait_until(lambda: batch_rows(engine)[0]["progress"], "the training is under way", 60)
        in_transaction(engine, partial(cancel, batch_id=batch_id, reason="not now"))
        running_batch.result(20)
    [batch] = batch_rows(engine)
    assert (batch["training_status"], batch["error_message"]) == ("cancelled", "not now")
    with engine.connect() as connection:
        released = connection.execute(select(questions.c.training_batch_id, questions.c.training_status)).all()
        assert connection.execute(select(versions.c.version)).scalars().all() == ["v0"]
    assert {tuple(row) for row in released} == {(None, "pending")}
    assert not (settings.var / "training" / batch_id).exists()
    with pytest.raises(Conflict, match="is cancelled"):
        in_transaction(engine, partial(cancel, batch_id=batch_id, reason="again"))
    with EventProducer(settings, source="test") as producer:
        in_transaction(engine, lambda connection: publish_outbox(connection, producer))
    [said] = read_all(kafka, TRAINING_FINISHED.name(settings.topic_prefix))
    assert decode(TrainingFinished, said.value()).data.outcome == "cancelled"


def test_suspects_are_kept_until_their_label_changes(engine: Engine) -> None:
    in_transaction(engine, lambda connection: add_labelled(connection, varied(4)))
    run = Run("b-1", "fine_tune", 1, "v1", 1, "v0", "", "", True, {}, None)
    found = [
        {"text_hash": text_hash(varied(4)[n][0]).hex(), "quality": quality, "suggested": ["general"]}
        for n, quality in ((2, 0.2), (1, 0.1))
    ]
    in_transaction(engine, partial(save_suspects, run=run, found=found))
    assert in_transaction(engine, partial(queue.suspects, limit=10)) == [2, 3], "the worst first"
    relabelled = update(questions).where(questions.c.id == 2).values(labeled_at=datetime(2030, 1, 1))
    in_transaction(engine, lambda connection: connection.execute(relabelled))
    assert in_transaction(engine, partial(queue.suspects, limit=10)) == [3]
    in_transaction(engine, partial(save_suspects, run=run, found=[]))
    assert in_transaction(engine, partial(queue.suspects, limit=10)) == []


def test_rules_are_retired_flagged_and_revived_and_a_person_s_decision_stays(engine: Engine) -> None:
    def rule(word: str, *, enabled: bool = True, reason: str = "", source: str = "auto") -> dict[str, object]:
        said = {"keyword": word, "intent": "career", "confidence_boost": 0.1, "support": 5, "source": source}
        return said | {"enabled": enabled, "retired_reason": reason}

    def state() -> dict[str, tuple[bool, str | None]]:
        with engine.connect() as connection:
            return {row.keyword: (row.enabled, row.retired_reason) for row in connection.execute(select(rules))}

    words = ("跳槽", "升职", "手写")
    first = [rule("跳槽"), rule("升职"), rule("手写", source="manual")]
    in_transaction(engine, partial(save_rules, judged=first, revision=1))
    off = update(rules).where(rules.c.keyword == "升职").values(enabled=False)
    in_transaction(engine, lambda connection: connection.execute(off))
    found = [rule("跳槽", enabled=False, reason="wrong"), rule("升职"), rule("手写", reason="wrong", source="manual")]
    in_transaction(engine, partial(save_rules, judged=found, revision=2))
    assert state() == dict(zip(words, [(False, "wrong"), (False, None), (True, "wrong")], strict=True))
    in_transaction(engine, partial(save_rules, judged=[rule("跳槽"), rule("手写", source="manual")], revision=3))
    assert state() == dict(zip(words, [(True, None), (False, None), (True, None)], strict=True))


def children(pid: int) -> list[int]:
    """The direct children of process `pid`, over all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_zombie_trainer_writes_nothing(settings: Settings, engine: Engine) -> None:
    """Its batch was taken over by another (a higher attempt): what it finds out late changes nothing."""
    register_builtin(settings, engine, BUILTIN)
    in_transaction(engine, lambda connection: add_labelled(connection, varied(10)))
    batch_id = in_transaction(engine, lambda c: make_batch(c, task="fine_tune", trigger="manual")).batch_id
    zombie = in_transaction(engine, partial(begin, batch_id=batch_id))
    living = in_transaction(engine, partial(begin, batch_id=batch_id))
    assert zombie is not None
    assert living is not None
    assert not in_transaction(engine, partial(holds, run=zombie))
    assert in_transaction(engine, partial(holds, run=living))
    assert zombie.version == living.version
    in_transaction(engine, lambda connection: finish(connection, living, "failed", reason="test"))
    assert in_transaction(engine, partial(begin, batch_id=batch_id)) is None, "an ended batch is not begun again"


def test_without_any_activation_the_trainer_waits(settings: Settings, engine: Engine) -> None:
    in_transaction(engine, lambda connection: add_labelled(connection, varied(10)))
    batch_id = in_transaction(engine, lambda c: make_batch(c, task="fine_tune", trigger="manual")).batch_id
    with pytest.raises(TransientError, match="intentloop migrate"):
        Trainer(engine, settings).train(batch_id)
