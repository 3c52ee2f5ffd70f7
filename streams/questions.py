"""`question.asked` becomes rows, keyword counts and rule usage: one transaction per batch, exact under redelivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from schema.envelope import Envelope
from schema.events import QuestionAsked
from schema.privacy import mask, pseudonym
from schema.tables import consent_withdrawals as withdrawals
from schema.tables import intent_user_questions as questions
from schema.text import text_hash
from streams import rollups
from streams.literals import RowWriter, execute_rows, literal_for, run
from streams.pairs import Pair, add_to_counts, add_to_rules

WRITTEN: Final = (
    "event_id",
    "question",
    "text_hash",
    "user_id",
    "session_id",
    "solar_date",
    "solar_time",
    "gender",
    "intents",
    "confidence",
    "rule_types",
    "time_intent",
    "keywords",
    "method",
    "response_time_ms",
    "is_fortune_related",
    "is_ambiguous",
    "reasoning",
    "model_version",
    "rules_revision",
    "matched_rules",
    "consent_training",
    "consent_stated",
    "training_status",
    "traceparent",
    "asked_at",
    "created_at",
    "updated_at",
)
"""The columns of a question that are known when it arrives."""
_QUESTION: Final = RowWriter(questions, WRITTEN)
_EVENT_ID: Final = literal_for(questions.c.event_id)
_USER_ID: Final = literal_for(questions.c.user_id)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a transaction did: new rows, and duplicates passed over."""

    new: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Row:
    """A question ready to be stored, and what it adds to the counters.

    Attributes:
        columns: its values by column.
        literal: the same as SQL, see `streams.literals`.
        pairs: each keyword with each intent of the answer.
        matched: the rules that spoke.
    """

    columns: dict[str, Any]
    literal: str
    pairs: frozenset[Pair]
    matched: frozenset[Pair]


def prepare(envelope: Envelope[QuestionAsked], *, key: str, default_consent: bool, now: datetime) -> Row:
    """`envelope` as a row: masked, under pseudonyms, its consent decided. Pure; `key` is the pseudonym key."""
    asked = envelope.data
    question = mask(asked.question)
    consent = default_consent if asked.consent is None else asked.consent.training
    said = asked.classification
    columns: dict[str, Any] = {
        "event_id": envelope.key_bytes,
        "question": question,
        "text_hash": text_hash(question),
        "user_id": asked.user_id and pseudonym(asked.user_id, key),
        "session_id": asked.session_id and pseudonym(asked.session_id, key),
        "solar_date": asked.solar_date,
        "solar_time": asked.solar_time,
        "gender": asked.gender,
        "intents": said and said.intents,
        "confidence": said and round(said.confidence, 4),
        "rule_types": said and said.rule_types,
        "time_intent": said and said.time_intent,
        "keywords": said and said.keywords,
        "method": said and said.method,
        "response_time_ms": said and round(said.response_time_ms),
        "is_fortune_related": said and said.is_fortune_related,
        "is_ambiguous": said and said.is_ambiguous,
        "reasoning": said and mask(said.reasoning),
        "model_version": said and said.model_version,
        "rules_revision": said and said.rules_revision,
        "matched_rules": said and said.matched_rules,
        "consent_training": consent,
        "consent_stated": asked.consent is not None,
        "training_status": "pending" if consent else "skipped",
        "traceparent": envelope.traceparent,
        "asked_at": ((envelope.data.asked_at or envelope.time).replace(tzinfo=None)),
        "created_at": now,
        "updated_at": now,
    }
    pairs = frozenset((word, intent) for word in set(said.keywords) for intent in said.intents) if said else frozenset()
    matched = frozenset((rule.keyword, rule.intent) for rule in said.matched_rules) if said else frozenset()
    return Row(columns, _QUESTION.row(columns), pairs, matched)


def store_questions(connection: Connection, batch: Sequence[Row]) -> Stored:
    """Store what is not there yet and count it. A repeat with the same event ids changes nothing.

    Rows are written in the order given. Counters, which workers share, come last, so that they are locked shortly.
    """
    first: dict[bytes, Row] = {}
    for row in batch:
        first.setdefault(row.columns["event_id"], row)
    known = _known(connection, list(first))
    new = [row for key, row in first.items() if key not in known]
    if new:
        execute_rows(connection, _QUESTION.insert, (row.literal for row in new))
        new = _suppress_withdrawn(connection, new)
    add_to_rules(connection, {"usage_count": Counter(pair for row in new for pair in row.matched)})
    add_to_counts(connection, Counter(pair for row in new for pair in row.pairs))
    rollups.add(connection, rollups.of_questions(row.columns for row in new))
    return Stored(len(new), len(batch) - len(new))


def _known(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of `keys` that are stored."""
    listed = ",".join(map(_EVENT_ID, keys))
    return {key for (key,) in run(connection, f"SELECT event_id FROM {questions.name} WHERE event_id IN ({listed})")}


def _suppress_withdrawn(connection: Connection, new: list[Row]) -> list[Row]:
    """A user who took the consent back is not trained on, whatever a late or replayed event says.

    Asked after the rows are there, and waiting for a withdrawal that is under way: so either this finds the withdrawal, or
    the withdrawal, which marks the user's rows, finds these.
    """
    users = {row.columns["user_id"] for row in new if row.columns["user_id"]}
    if not users:
        return new
    listed = ",".join(map(_USER_ID, sorted(users)))
    asked = f"SELECT user_id FROM {withdrawals.name} WHERE user_id IN ({listed}) LOCK IN SHARE MODE"
    gone = {user for (user,) in run(connection, asked)}
    theirs = ",".join(_EVENT_ID(row.columns["event_id"]) for row in new if row.columns["user_id"] in gone)
    if not theirs:
        return new
    values = "consent_training = 0, training_status = 'skipped'"
    run(connection, f"UPDATE {questions.name} SET {values} WHERE event_id IN ({theirs})")
    return [_without_consent(row) if row.columns["user_id"] in gone else row for row in new]


def _without_consent(row: Row) -> Row:
    return replace(row, columns=row.columns | {"consent_training": False, "training_status": "skipped"})
