"""Training batches: made by the threshold or by a person, run through the same event.

A question is *open* if it is labelled, consented to and not yet in a batch. Making a batch takes all open questions,
so that no two batches hold the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from schema.errors import Conflict, NotFound
from schema.events import TrainingFinished, TrainingRequested
from schema.ids import uuid7
from schema.outbox import enqueue
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import TRAINING_FINISHED, TRAINING_REQUESTED
from schema.tracing import continued

Task = Literal["fine_tune", "extract_keywords", "rescore"]
"""A rescore judges a version again on the held-out questions as they are labelled now."""
Trigger = Literal["threshold", "manual"]
ENDED: Final = frozenset({"completed", "rejected", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was just made."""

    batch_id: str
    question_count: int
    labeled_count: int


def is_open() -> ColumnElement[bool]:
    """The questions that the next batch takes."""
    return and_(
        questions.c.training_status == "pending",
        questions.c.is_labeled,
        questions.c.consent_training,
        questions.c.training_batch_id.is_(None),
    )


def count_open(connection: Connection) -> int:
    """Distinct open questions: copies of one text count once."""
    return connection.execute(select(func.count(questions.c.text_hash.distinct())).where(is_open())).scalar_one()


def make_batch(
    connection: Connection,
    *,
    task: Task,
    trigger: Trigger,
    description: str = "",
    options: dict[str, Any] | None = None,
    version: str | None = None,
    traceparent: str | None = None,
) -> Batch:
    """Append a pending batch; a ``fine_tune`` takes all open questions as members. The caller holds the lock ``trigger``.

    `version` is what a ``rescore`` is about. `traceparent` is the trace of what led to it: it goes on to the activation of what
    is trained.

    Raises:
        Conflict: there is nothing to train on.
    """
    batch_id = f"b-{uuid7()}"
    taken, distinct = 0, 0
    if task == "fine_tune":
        distinct = count_open(connection)
        if distinct == 0:
            raise Conflict("nothing_labeled", "no labelled, consented question waits for training: label some first")
        values = {"training_batch_id": batch_id, "updated_at": utc_now()}
        taken = connection.execute(update(questions).where(is_open()).values(values)).rowcount
    row = {
        "batch_id": batch_id,
        "description": description,
        "question_count": taken,
        "labeled_count": distinct,
        "training_status": "pending",
        "trigger": trigger,
        "task": task,
        "options": options or {},
        "model_version": version,
        "traceparent": traceparent,
        "created_at": utc_now(),
    }
    connection.execute(batches.insert(), row)
    return Batch(batch_id, taken, distinct)


def request_run(connection: Connection, batch_id: str, *, auto_extract_keywords: bool = True) -> Row[Any]:
    """Queue ``training.requested`` for a pending batch; a repeat changes nothing. Returns the batch's row as it was.

    Raises:
        NotFound: no such batch.
        Conflict: the batch has ended.
    """
    batch = _not_ended(connection, batch_id, advice=": make a new one")
    if not batch.requested:
        values = {"requested": True, "auto_extract_keywords": auto_extract_keywords}
        connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        event = TrainingRequested(batch_id=batch_id, task=batch.task, trigger=batch.trigger)
        enqueue(connection, TRAINING_REQUESTED, event, key=batch_id, traceparent=continued(batch.traceparent))
    return batch


def _not_ended(connection: Connection, batch_id: str, advice: str = "") -> Row[Any]:
    """The row of a batch that has not ended, locked. The database takes 'b-1 ' for 'b-1'; this does not."""
    batch = connection.execute(select(batches).where(batches.c.batch_id == batch_id).with_for_update()).one_or_none()
    if batch is None or batch.batch_id != batch_id:
        raise NotFound("unknown_batch", f"there is no batch {batch_id[:64]}", "batch_id")
    if batch.training_status in ENDED:
        raise Conflict("batch_ended", f"batch {batch_id} is {batch.training_status}{advice}", "batch_id")
    return batch


def cancel(connection: Connection, batch_id: str, *, reason: str) -> Row[Any]:
    """End a batch that waits or is being trained, and release its questions. Returns the batch's row as it was.

    The attempt number grows, so that a trainer that is at it can write nothing more: it looks every second, and ends.

    Raises:
        NotFound: no such batch.
        Conflict: the batch has ended.
    """
    batch = _not_ended(connection, batch_id)
    values = {
        "training_status": "cancelled",
        "training_end_time": utc_now(),
        "attempt": batch.attempt + 1,
        "error_message": reason,
    }
    connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
    release(connection, batch_id)
    event = TrainingFinished(batch_id=batch_id, outcome="cancelled", reason=reason)
    enqueue(connection, TRAINING_FINISHED, event, key=batch_id, traceparent=continued(batch.traceparent))
    return batch


def release(connection: Connection, batch_id: str) -> None:
    """Give the questions of a batch that learned nothing back to the next one."""
    members = and_(questions.c.is_labeled, questions.c.training_batch_id == batch_id, questions.c.training_status == "pending")
    values = {"training_batch_id": None, "updated_at": utc_now()}
    connection.execute(update(questions).where(members).values(values))
