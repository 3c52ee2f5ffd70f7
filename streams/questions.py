"""`question.asked` becomes rows, keyword counts and rule usage: one transaction per batch, exact under redelivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, tuple_, update
from sqlalchemy.dialects.mysql import insert

from schema.events import Envelope, QuestionAsked
from schema.publisher import protect
from schema.tables import consent_withdrawals as withdrawals
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.text import text_hash

Pair = tuple[str, str]
"""A keyword and an intent."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a transaction did: new rows, duplicates passed over, and the new absolute totals of what was counted."""

    new: int = 0
    duplicates: int = 0
    totals: dict[Pair, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A question ready to be stored, and what it adds to the counters."""

    columns: dict[str, Any]
    pairs: frozenset[Pair]
    matched: frozenset[Pair]


def prepare(envelope: Envelope[QuestionAsked], *, key: str, default_consent: bool, now: datetime) -> Row:
    """`envelope` as a row: masked, under pseudonyms, its consent decided. Pure; `key` is the pseudonym key."""
    asked = protect(envelope.data, key)
    consent = default_consent if asked.consent is None else asked.consent.training
    said = asked.classification
    columns: dict[str, Any] = {
        "event_id": envelope.key_bytes,
        "question": asked.question,
        "text_hash": text_hash(asked.question),
        "user_id": asked.user_id,
        "session_id": asked.session_id,
        "solar_date": asked.solar_date,
        "solar_time": asked.solar_time,
        "gender": asked.gender,
        "intents": said and said.intents,
        "confidence": said and round(said.confidence, 4),
        "rule_types": said and said.rule_types,
        "time_intent": said and said.time_intent and said.time_intent.model_dump(),
        "keywords": said and said.keywords,
        "method": said and said.method,
        "response_time_ms": said and round(said.response_time_ms),
        "is_fortune_related": said and said.is_fortune_related,
        "is_ambiguous": said and said.is_ambiguous,
        "reasoning": said and said.reasoning,
        "model_version": said and said.model_version,
        "rules_revision": said and said.rules_revision,
        "matched_rules": said and [rule.model_dump() for rule in said.matched_rules],
        "consent_training": consent,
        "consent_stated": asked.consent is not None,
        "training_status": "pending" if consent else "skipped",
        "asked_at": ((envelope.data.asked_at or envelope.time).replace(tzinfo=None)),
        "created_at": now,
        "updated_at": now,
    }
    pairs = frozenset((word, intent) for word in set(said.keywords) for intent in said.intents) if said else frozenset()
    matched = frozenset((rule.keyword, rule.intent) for rule in said.matched_rules) if said else frozenset()
    return Row(columns, pairs, matched)


def store_questions(connection: Connection, batch: Sequence[Row]) -> Stored:
    """Store what is not there yet and count it. A repeat with the same event ids changes nothing.

    Rows are written in the order of their keys, so that two workers cannot deadlock on one another's rows.
    """
    by_id = {row.columns["event_id"]: row for row in reversed(batch)}
    known = set(connection.execute(select(questions.c.event_id).where(questions.c.event_id.in_(list(by_id)))).scalars())
    new = [by_id[key] for key in sorted(by_id.keys() - known)]
    if new:
        _suppress_withdrawn(connection, new)
        connection.execute(questions.insert(), [row.columns for row in new])
    totals = _count(connection, Counter(pair for row in new for pair in row.pairs))
    _count_usage(connection, Counter(pair for row in new for pair in row.matched))
    return Stored(len(new), len(batch) - len(new), totals)


def _suppress_withdrawn(connection: Connection, new: Sequence[Row]) -> None:
    """A user who took the consent back is not trained on, whatever a late or replayed event says."""
    users = {row.columns["user_id"] for row in new if row.columns["user_id"]}
    if not users:
        return
    gone = set(connection.execute(select(withdrawals.c.user_id).where(withdrawals.c.user_id.in_(users))).scalars())
    for row in new:
        if row.columns["user_id"] in gone:
            row.columns.update(consent_training=False, training_status="skipped")


def _count(connection: Connection, added: Counter[Pair]) -> dict[Pair, int]:
    """Add to the keyword counts and return the new totals of the touched pairs."""
    if not added:
        return {}
    now = utc_now()
    rows = [{"keyword": k, "intent": i, "total": n, "updated_at": now} for (k, i), n in sorted(added.items())]
    statement = insert(counts)
    connection.execute(
        statement.on_duplicate_key_update(
            total=counts.c.total + statement.inserted.total, updated_at=statement.inserted.updated_at
        ),
        rows,
    )
    touched = select(counts.c.keyword, counts.c.intent, counts.c.total).where(
        tuple_(counts.c.keyword, counts.c.intent).in_(added)
    )
    return {(k, i): total for k, i, total in connection.execute(touched)}


def _count_usage(connection: Connection, used: Counter[Pair]) -> None:
    """Add to the usage of the rules that spoke."""
    if used:
        statement = (
            update(rules)
            .where(rules.c.keyword == bindparam("b_keyword"), rules.c.intent == bindparam("b_intent"))
            .values(usage_count=rules.c.usage_count + bindparam("b_n"))
        )
        connection.execute(statement, [{"b_keyword": k, "b_intent": i, "b_n": n} for (k, i), n in sorted(used.items())])
