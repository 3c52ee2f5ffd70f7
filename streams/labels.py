"""`question.labeled` becomes a label, a history row, rule success or failure, and `label.applied`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from schema.errors import EventError
from schema.events import Envelope, LabelApplied, QuestionLabeled
from schema.outbox import enqueue
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
class Sums:
    """What labels add to the rules and to the rollups, whose rows all workers change: collected, and written once, last."""

    success: Counter[Pair] = field(default_factory=Counter)
    failure: Counter[Pair] = field(default_factory=Counter)
    rollups: Counter[Key] = field(default_factory=Counter)

    def write(self, connection: Connection) -> None:
        """Add them to the rows."""
        add_to_rules(connection, {"success_count": self.success, "failure_count": self.failure})
        rollups.add(connection, self.rollups)


def apply_labels(connection: Connection, labels: Sequence[tuple[Record, Envelope[QuestionLabeled]]]) -> tuple[int, list[Refused]]:
    """Apply `labels` in their order; returns how many were new, and those that can never be applied: these write nothing.

    A repeat with the same event ids changes nothing.
    """
    applied, refused, sums = 0, [], Sums()
    asked = {envelope.data.question_id for _, envelope in labels}
    # All at once, by id: what a label locks stays locked while the others are applied.
    connection.execute(select(questions.c.id).where(questions.c.id.in_(asked)).order_by(questions.c.id).with_for_update())
    for record, envelope in labels:
        try:
            applied += apply_label(connection, envelope, sums)
        except EventError as error:
            refused.append(Refused(record, error))
    sums.write(connection)
    return applied, refused


def apply_label(connection: Connection, envelope: Envelope[QuestionLabeled], sums: Sums) -> bool:
    """Apply one label, all but its `sums`; returns False where this event was applied before. A relabel is a new history row.

    A relabel of a question that a model has learned puts it back, so that the correction is learned too.

    Raises:
        EventError: ``unknown_question``, or ``no_consent`` where the asker did not agree to being labelled.
    """
    said = envelope.data
    row = connection.execute(select(questions).where(questions.c.id == said.question_id).with_for_update()).one_or_none()
    if row is None:
        raise EventError("unknown_question", f"there is no question {said.question_id}")
    if connection.execute(select(history.c.id).where(history.c.event_id == envelope.key_bytes)).first():
        return False
    if not row.consent_training:
        raise EventError("no_consent", f"question {said.question_id} was asked without consent to training")
    now = utc_now()
    time_intent = said.correct_time_intent and said.correct_time_intent.model_dump()
    label: dict[str, Any] = {
        "correct_intent": said.correct_intent,
        "correct_time_intent": time_intent,
        "labeler_id": said.labeler_id,
        "labeled_at": said.labeled_at.replace(tzinfo=None),
    }
    entry = label | {"event_id": envelope.key_bytes, "question_id": row.id, "applied_at": now}
    connection.execute(history.insert(), entry)
    values = label | {"is_labeled": True, "updated_at": now}
    if row.training_status == "used" and row.correct_intent != said.correct_intent:
        values |= {"training_status": "pending", "training_batch_id": None, "training_model_version": None}
    connection.execute(update(questions).where(questions.c.id == row.id).values(values))
    _judge_rules(row, said, sums)
    event = LabelApplied(
        question_id=row.id,
        correct_intent=said.correct_intent,
        labeler_id=said.labeler_id,
        is_relabel=bool(row.is_labeled),
        applied_at=now.replace(tzinfo=UTC),
    )
    enqueue(connection, LABEL_APPLIED, event, key=str(row.id), traceparent=continued(envelope.traceparent))
    sums.rollups.update(rollups.of_label(row, said.correct_intent))
    return True


def _judge_rules(row: Row[Any], said: QuestionLabeled, sums: Sums) -> None:
    """Count each rule that spoke for this question as right or wrong; a relabel takes its earlier judgement back."""
    for rule in row.matched_rules or []:
        pair = (rule["keyword"], rule["intent"])
        if row.is_labeled:
            (sums.success if rule["intent"] in row.correct_intent else sums.failure)[pair] -= 1
        (sums.success if rule["intent"] in said.correct_intent else sums.failure)[pair] += 1


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
