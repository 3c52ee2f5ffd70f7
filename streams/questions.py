"""`question.asked` becomes rows, keyword counts and rule usage: one transaction per batch, exact under redelivery."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from schema.events import Envelope, QuestionAsked
from schema.privacy import mask, pseudonym
from schema.tables import consent_withdrawals as withdrawals
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.text import text_hash
from streams import rollups
from streams.literals import RowWriter, execute_rows, literal_for, run

Pair = tuple[str, str]
"""A keyword and an intent."""

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
_WORD: Final = literal_for(counts.c.keyword)


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
        new = _suppress_withdrawn(connection, new)
        execute_rows(connection, _QUESTION.insert, (row.literal for row in new))
    _count_usage(connection, Counter(pair for row in new for pair in row.matched))
    _count(connection, Counter(pair for row in new for pair in row.pairs))
    rollups.add(connection, rollups.of_questions(row.columns for row in new))
    return Stored(len(new), len(batch) - len(new))


def _known(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of `keys` that are stored."""
    listed = ",".join(map(_EVENT_ID, keys))
    return {key for (key,) in run(connection, f"SELECT event_id FROM {questions.name} WHERE event_id IN ({listed})")}


def _suppress_withdrawn(connection: Connection, new: list[Row]) -> list[Row]:
    """A user who took the consent back is not trained on, whatever a late or replayed event says."""
    users = {row.columns["user_id"] for row in new if row.columns["user_id"]}
    if not users:
        return new
    listed = ",".join(map(_USER_ID, users))
    gone = {user for (user,) in run(connection, f"SELECT user_id FROM {withdrawals.name} WHERE user_id IN ({listed})")}
    return [_without_consent(row) if row.columns["user_id"] in gone else row for row in new]


def _without_consent(row: Row) -> Row:
    columns = row.columns | {"consent_training": False, "training_status": "skipped"}
    return replace(row, columns=columns, literal=_QUESTION.row(columns))


def _count(connection: Connection, added: Counter[Pair]) -> None:
    """Add to the keyword counts."""
    now = utc_now()
    rows = (f"({_WORD(word)},'{intent}',{n},'{now}')" for (word, intent), n in sorted(added.items()))
    execute_rows(
        connection,
        f"INSERT INTO {counts.name} (keyword, intent, total, updated_at) VALUES ",
        rows,
        " ON DUPLICATE KEY UPDATE total = total + VALUES(total), updated_at = VALUES(updated_at)",
    )


def _count_usage(connection: Connection, used: Counter[Pair]) -> None:
    """Add to the usage of the rules that spoke: one statement for all that spoke equally often."""
    if not used:
        return
    sql = f"SELECT id, keyword, intent FROM {rules.name} WHERE keyword IN ({words_of(used)})"
    by_number: defaultdict[int, list[int]] = defaultdict(list)
    for number, word, intent in run(connection, sql):
        if (word, intent) in used:
            by_number[used[word, intent]].append(number)
    for times, ids in sorted(by_number.items()):
        listed = ",".join(map(str, sorted(ids)))
        run(connection, f"UPDATE {rules.name} SET usage_count = usage_count + {times} WHERE id IN ({listed})")


def words_of(pairs: Iterable[Pair]) -> str:
    """The keywords of `pairs` as a list of SQL literals.

    Rows are looked up by word alone: a list of pairs would be compared one by one, a list of words is found in the key.
    """
    return ",".join(_WORD(word) for word in sorted({word for word, _ in pairs}))
