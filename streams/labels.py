"""`question.labeled` becomes a label, or takes one back: a history row, rule success or failure, and `label.applied`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, update

from schema.envelope import Envelope
from schema.errors import EventError
from schema.events import LabelApplied, QuestionLabeled
from schema.label_history import LABEL, Label, holding, take_back
from schema.outbox import Message, enqueue_all
from schema.rollups import Key
from schema.tables import consent_withdrawals as withdrawals
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import LABEL_APPLIED
from schema.tracing import continued
from streams import rollups
from streams.pairs import Pair, add_to_rules
from streams.records import Record, Refused


@dataclass(slots=True)
class Batch:
    """What labels change, collected in their order and written at once: rows of the labels' own, then those that all share.

    Attributes:
        questions: the questions by id, as they are after the labels so far.
        known: event ids that were applied before.
        holding: of the questions about which an undo speaks, the labels so far that nobody took back.
    """

    questions: dict[int, Any]
    known: set[bytes]
    holding: dict[int, list[Label]]
    entries: list[dict[str, Any]] = field(default_factory=list)
    changed: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: list[Message] = field(default_factory=list)
    success: Counter[Pair] = field(default_factory=Counter)
    failure: Counter[Pair] = field(default_factory=Counter)
    rollups: Counter[Key] = field(default_factory=Counter)

    def write(self, connection: Connection) -> None:
        """Write all of it."""
        if self.entries:
            connection.execute(history.insert(), self.entries)
        for number, values in sorted(self.changed.items()):
            connection.execute(update(questions).where(questions.c.id == number).values(values))
        enqueue_all(connection, LABEL_APPLIED, self.told)
        add_to_rules(connection, {"success_count": self.success, "failure_count": self.failure})
        rollups.add(connection, self.rollups)


def apply_labels(connection: Connection, labels: Sequence[tuple[Record, Envelope[QuestionLabeled]]]) -> tuple[int, list[Refused]]:
    """Apply `labels` in their order; returns how many were new, and those that can never be applied: these write nothing.

    A repeat with the same event ids changes nothing.
    """
    asked = {envelope.data.question_id for _, envelope in labels}
    rows = connection.execute(select(questions).where(questions.c.id.in_(asked)).order_by(questions.c.id).with_for_update())
    found = {row.id: SimpleNamespace(**row._mapping) for row in rows}
    ids = [envelope.key_bytes for _, envelope in labels]
    known = set(connection.execute(select(history.c.event_id).where(history.c.event_id.in_(ids))).scalars())
    undone = {envelope.data.question_id for _, envelope in labels if envelope.data.takes_back}
    batch = Batch(found, known, holding(connection, undone & found.keys()))
    applied, refused = 0, []
    for record, envelope in labels:
        try:
            applied += _apply(batch, envelope)
        except EventError as error:
            refused.append(Refused(record, error))
    batch.write(connection)
    return applied, refused


def _apply(batch: Batch, envelope: Envelope[QuestionLabeled]) -> bool:
    """Apply one label or undo to `batch`; returns False where this event was applied before. Each is a new history row.

    Raises:
        EventError: ``unknown_question``, or ``no_consent`` where the asker did not agree to being labelled.
    """
    said = envelope.data
    row = batch.questions.get(said.question_id)
    if row is None:
        raise EventError("unknown_question", f"there is no question {said.question_id}")
    if envelope.key_bytes in batch.known:
        return False
    if not row.consent_training:
        raise EventError("no_consent", f"question {said.question_id} was asked without consent to training")
    batch.known.add(envelope.key_bytes)
    now = utc_now()
    label: Label = {
        "correct_intent": said.correct_intent,
        "correct_time_intent": said.correct_time_intent and said.correct_time_intent.model_dump(),
        "labeler_id": said.labeler_id,
        "labeled_at": said.labeled_at.replace(tzinfo=None),
    }
    entry = {"event_id": envelope.key_bytes, "question_id": row.id, "applied_at": now, "takes_back": said.takes_back}
    batch.entries.append(label | entry)
    event = LabelApplied(
        question_id=row.id,
        correct_intent=said.correct_intent,
        labeler_id=said.labeler_id,
        is_relabel=bool(row.is_labeled),
        applied_at=now.replace(tzinfo=UTC),
        takes_back=said.takes_back,
    )
    batch.told.append(Message(event, str(row.id), continued(envelope.traceparent)))
    if said.takes_back is None:
        if row.id in batch.holding:
            batch.holding[row.id].append(label | {"event_id": envelope.key_bytes})
        _set(batch, row, label, now)
    else:
        _undo(batch, row, said, now)
    return True


def _set(batch: Batch, row: Any, label: Label, now: datetime) -> None:
    """Make `label` the question's label.

    A relabel of a question that a model has learned puts it back, so that the correction is learned too.
    """
    _judge_rules(batch, row, label["correct_intent"])
    batch.rollups.update(rollups.of_label(row, label["correct_intent"]))
    values = {name: label[name] for name in LABEL} | {"is_labeled": True, "updated_at": now}
    if row.training_status == "used" and row.correct_intent != label["correct_intent"]:
        values |= _OPEN
    _change(batch, row, values)


_OPEN: Final[dict[str, Any]] = {"training_status": "pending", "training_batch_id": None, "training_model_version": None}


def _undo(batch: Batch, row: Any, said: QuestionLabeled, now: datetime) -> None:
    """Take back a label: the one before it is the question's again, or the question waits again, out of any batch."""
    labels = batch.holding[row.id]
    before = labels[-1] if labels else None
    take_back(labels, str(said.takes_back), said.labeler_id)
    last = labels[-1] if labels else None
    if last is not None:
        if last is not before:
            _set(batch, row, last, now)
    elif row.is_labeled and (before is not None or said.takes_back == "all"):
        _judge_rules(batch, row, None)
        batch.rollups.update(rollups.of_undo(row))
        _change(batch, row, dict.fromkeys(LABEL) | {"is_labeled": False, "updated_at": now} | _OPEN)


def _change(batch: Batch, row: Any, values: dict[str, Any]) -> None:
    batch.changed[row.id] = batch.changed.get(row.id, {}) | values
    for name, value in values.items():
        setattr(row, name, value)


def _judge_rules(batch: Batch, row: Any, correct_intent: Collection[str] | None) -> None:
    """Count each rule that spoke for this question as right or wrong; an earlier judgement is taken back."""
    for rule in row.matched_rules or []:
        pair = (rule["keyword"], rule["intent"])
        if row.is_labeled:
            (batch.success if rule["intent"] in row.correct_intent else batch.failure)[pair] -= 1
        if correct_intent is not None:
            (batch.success if rule["intent"] in correct_intent else batch.failure)[pair] += 1


def withdraw_consent(connection: Connection, user_id: str, withdrawn_at: datetime) -> int:
    """Remember that `user_id` (a pseudonym) took the consent back; returns how many questions left the queue.

    What a model has learned already stays marked ``used``: its versions can be listed by it.
    """
    known = connection.execute(select(withdrawals.c.user_id).where(withdrawals.c.user_id == user_id)).first()
    if not known:
        row = {"user_id": user_id, "withdrawn_at": withdrawn_at.replace(tzinfo=None), "created_at": utc_now()}
        connection.execute(withdrawals.insert(), row)
    theirs = _questions_of(connection, user_id)
    chosen = questions.c.id.in_([row.id for row in theirs])
    connection.execute(update(questions).where(chosen, questions.c.consent_training).values(consent_training=False))
    connection.execute(
        update(questions).where(chosen, questions.c.training_status == "pending").values(training_status="skipped")
    )
    pending = [row for row in theirs if row.training_status == "pending"]
    waiting = sum(not row.is_labeled for row in pending)
    rollups.add(connection, rollups.of_withdrawal(waiting=waiting, skipped=len(pending)))
    return len(pending)


def _questions_of(connection: Connection, user_id: str) -> Sequence[Row[Any, Any, Any]]:
    """The user's questions, locked, also those that another transaction is about to commit: it waits for them.

    The days are named one by one, so that the index by day and user is used.
    """
    kept = connection.execute(select(func.min(questions.c.stored_on), func.max(questions.c.stored_on))).one()
    today = utc_now().date()  # what is not committed yet is of today, or was begun yesterday
    first, last = min(kept[0] or today, today - timedelta(days=1)), max(kept[1] or today, today)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    chosen = select(questions.c.id, questions.c.is_labeled, questions.c.training_status).with_hint(
        questions, "FORCE INDEX (ix_questions_user)"
    )
    theirs = chosen.where(questions.c.stored_on.in_(days), questions.c.user_id == user_id)
    return connection.execute(theirs.order_by(questions.c.id).with_for_update()).all()
