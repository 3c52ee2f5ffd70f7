"""What a labeler can do with a question but label it: skip it, put it off, flag it, and take back the last decision."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, select

from api import marks
from api.labels import event_id_of
from api.leases import give_back
from api.opinions import forget
from api.questions import find, question_id
from api.state import Api, Sending
from api.tasks import Decision, Flag
from api.wire import PREFIX, Call, Nothing
from schema.errors import Conflict
from schema.events import QuestionLabeled
from schema.ids import uuid7
from schema.label_history import holding
from schema.privacy import mask
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import QUESTION_LABELED

POSTPONED: Final = timedelta(hours=1)
UNDOS: Final = uuid.UUID("5b0f6c37-65a4-5c6e-9a0b-0d6f8a3f7d12")


async def skip(api: Api, call: Call[Decision, Nothing]) -> dict[str, Any]:
    """Never hand this question, or a copy of it, to this labeler again."""
    return await _mark(api, question_id(call.path["id"]), "skip", call.body.labeler_id)


async def postpone(api: Api, call: Call[Decision, Nothing]) -> dict[str, Any]:
    """Hand it to this labeler again in an hour."""
    return await _mark(api, question_id(call.path["id"]), "postpone", call.body.labeler_id, until=utc_now() + POSTPONED)


async def flag(api: Api, call: Call[Flag, Nothing]) -> dict[str, Any]:
    """Take it out of everyone's queue, for a reviewer to look at."""
    comment = mask(call.body.comment)[:500]
    return await _mark(api, question_id(call.path["id"]), "flag", call.body.labeler_id, comment=comment)


async def _mark(api: Api, number: int, kind: marks.Kind, labeler: str, **more: Any) -> dict[str, Any]:
    def work(connection: Connection) -> dict[str, Any]:
        row = find(connection, number)
        if not row.consent_training or row.training_status == "skipped":
            raise Conflict("no_consent", f"question {number} was asked without consent to training", "id")
        made = marks.Decision(uuid7(), kind, labeler, number, row.text_hash)
        marks.keep(connection, made, utc_now(), **more)
        give_back(connection, labeler, [row.text_hash])
        return {"question_id": number, "decision": kind}

    return await api.database(work)


@dataclass(frozen=True, slots=True)
class _Undo:
    """What is taken back: a label, by the events that do it, or with `sent` empty another decision, which is gone already."""

    kind: str
    text_hash: bytes
    sent: Sequence[Sending] = ()
    decision: bytes | None = None


async def undo(api: Api, call: Call[Decision, Nothing]) -> dict[str, Any]:
    """Take back this labeler's last decision on the question, one step: a label (of all its copies), skip, postponement or flag.

    A label is taken back through Kafka, as it came: ask for the question to see it done.
    """
    number, labeler = question_id(call.path["id"]), call.body.labeler_id
    key = call.idempotency_key
    request = uuid7() if key is None else uuid.uuid5(UNDOS, f"{number}\n{labeler}\n{key}")
    undone = await api.database(lambda connection: _look(connection, number, labeler, request))
    if undone.sent:
        await api.publish(QUESTION_LABELED, *undone.sent)

        def work(connection: Connection) -> None:
            if undone.decision is not None:
                marks.drop(connection, undone.text_hash, undone.decision)
            forget(connection, labeler, [undone.text_hash])
            marks.keep(connection, marks.Decision(request, "undo", labeler, number, undone.text_hash), utc_now())

        await api.database(work)
    numbers = [int(one.key) for one in undone.sent] or [number]
    return {"question_id": number, "undone": undone.kind, "question_ids": numbers, "look": f"{PREFIX}/questions/{number}"}


def _look(connection: Connection, number: int, labeler: str, request: uuid.UUID) -> _Undo:
    """What there is to take back. Anything but a label is taken back here.

    Raises:
        NotFound: no such question.
        Conflict: there is nothing, or a training has used it.
    """
    row = find(connection, number)
    if marks.was_undone(connection, number, request):
        return _Undo("nothing", row.text_hash)
    last = marks.last_decision(connection, number, labeler)
    if last and last[0].kind not in ("label", "copy"):
        if last[0].closed_at is not None:
            raise Conflict("reviewed", f"question {number} was reviewed since", "id")
        marks.drop(connection, row.text_hash, last[0].decision)
        marks.keep(connection, marks.Decision(request, "undo", labeler, number, row.text_hash), utc_now())
        return _Undo(last[0].kind, row.text_hash)
    labels = [one for one in holding(connection, [number])[number] if one["labeler_id"] == labeler]
    if last:
        decision = uuid.UUID(bytes=last[0].decision)
        [main] = [mark.question_id for mark in last if mark.kind == "label"]
        given = {mark.question_id: event_id_of(decision, mark.question_id, main) for mark in last}
        answer = last[0].answer
    elif labels:
        given = {number: uuid.UUID(bytes=labels[-1]["event_id"])}
        answer = labels[-1]["correct_intent"]
    else:
        raise Conflict("nothing_to_undo", f"{labeler} has decided nothing on question {number}", "id")
    check_unused(connection, list(given))
    sent = [taking_back(one, answer, labeler, "last", uuid.uuid5(UNDOS, str(event))) for one, event in given.items()]
    return _Undo("label", row.text_hash, sent, last[0].decision if last else None)


def taking_back(number: int, answer: list[Any], labeler: str, which: Any, event_id: uuid.UUID) -> Sending:
    """The event that takes a label back."""
    event = QuestionLabeled(
        question_id=number,
        correct_intent=answer,
        labeler_id=labeler,
        labeled_at=datetime.now(UTC),
        takes_back=which,
    )
    return Sending(event, str(number), str(event_id))


def check_unused(connection: Connection, numbers: list[int]) -> None:
    """Raises `Conflict` where a training learned, or is learning, one of the questions."""
    its_batch = batches.c.batch_id == questions.c.training_batch_id
    chosen = select(questions.c.id, questions.c.training_status, batches.c.training_status.label("batch"))
    for row in connection.execute(chosen.outerjoin(batches, its_batch).where(and_(questions.c.id.in_(numbers)))):
        if row.training_status == "used" or row.batch == "training":
            raise Conflict("already_trained", f"a training has used question {row.id}: label it anew instead", "id")
