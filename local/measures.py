"""What the demo reads off the system at its end, from the database and the topics themselves."""

from __future__ import annotations

import urllib.request
from collections import Counter
from datetime import UTC
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, Engine, func, select

from schema.database import in_transaction
from schema.producer import client_config
from schema.settings import Settings
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_model_activations as activations
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_user_questions as questions
from schema.topics import Topic


def stored_ids(engine: Engine) -> Counter[bytes]:
    """The event ids of all stored questions, and how often each is there."""
    return in_transaction(engine, lambda connection: Counter(connection.execute(select(questions.c.event_id)).scalars()))


def labelled(engine: Engine) -> int:
    """Labelled questions."""
    chosen = select(func.count()).select_from(questions).where(questions.c.is_labeled)
    return in_transaction(engine, lambda connection: int(connection.execute(chosen).scalar_one()))


def keyword_counts(engine: Engine) -> tuple[int, bool]:
    """How many keyword-intent pairs are counted, and whether each total equals a recount from the questions."""

    def work(connection: Connection) -> tuple[int, bool]:
        kept = {(row.keyword, row.intent): row.total for row in connection.execute(select(counts))}
        recount: Counter[tuple[str, str]] = Counter()
        for words, intents in connection.execute(select(questions.c.keywords, questions.c.intents)):
            recount.update((word, intent) for word in set(words or []) for intent in intents or [])
        return len(kept), kept == dict(recount)

    return in_transaction(engine, work)


def trained(engine: Engine) -> list[dict[str, Any]]:
    """The batches that have ended, the oldest first, with the scores of the serving version and of the candidate."""

    def work(connection: Connection) -> list[dict[str, Any]]:
        chosen = select(batches).where(batches.c.training_end_time.is_not(None)).order_by(batches.c.id)
        return [_batch(dict(row)) for row in connection.execute(chosen).mappings()]

    return in_transaction(engine, work)


def _batch(row: dict[str, Any]) -> dict[str, Any]:
    metrics = row["metrics"] or {}
    return {
        "batch_id": row["batch_id"],
        "trigger": row["trigger"],
        "outcome": row["training_status"],
        "version": row["model_version"],
        "rows": row["question_count"],
        "trained_rows": metrics.get("train_rows"),
        "replayed_rows": metrics.get("replay_rows"),
        "seconds": float(row["training_duration_sec"] or 0),
        "held_out_rows": metrics.get("held_out_rows"),
        "serving": _scores(metrics.get("serving")),
        "candidate": _scores(metrics.get("candidate")),
        "gate": metrics.get("gate"),
        "rules_extracted": row["rules_extracted"],
        "error": row["error_message"],
    }


def _scores(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    per_intent = {intent: one["f1"] for intent, one in scores["per_intent"].items()}
    return {"macro_f1": scores["macro_f1"], "per_intent_f1": per_intent}


def activated_at(engine: Engine, version: str) -> tuple[int, float] | None:
    """The generation that brought `version`, and the moment of its event in Unix seconds; None while it has not been."""
    chosen = select(activations.c.id, activations.c.activated_at).where(activations.c.version == version)
    chosen = chosen.order_by(activations.c.id.desc()).limit(1)
    row = in_transaction(engine, lambda connection: connection.execute(chosen).one_or_none())
    return None if row is None else (row.id, row.activated_at.replace(tzinfo=UTC).timestamp())


def duplicates(streams_url: str) -> int:
    """Events that the streams worker knew already, by its own count."""
    with urllib.request.urlopen(f"{streams_url}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    wanted = {"agent": "persist-questions", "outcome": "duplicate"}
    samples = (sample for family in families for sample in family.samples if sample.name == "intentloop_stream_events_total")
    return int(sum(sample.value for sample in samples if sample.labels == wanted))


def dead_letters(settings: Settings, topic: Topic) -> int:
    """Records on the dead-letter topic of `topic`, by its offsets."""
    name = topic.dead_letter_name(settings.topic_prefix)
    consumer = Consumer(client_config(settings) | {"group.id": settings.group("measures")})
    try:
        found = 0
        for partition in consumer.list_topics(name, timeout=10).topics[name].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
            found += high - low
        return found
    finally:
        consumer.close()
