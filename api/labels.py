"""Labelling. A label goes through Kafka; it is never written from here. What is written here is that it was given."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Connection, Row, and_, or_, select

from api.groups import copies, in_share, is_waiting, may_be_labelled
from api.leases import give_back
from api.marks import Decision, keep
from api.opinions import note
from api.questions import question_id
from api.state import Api, Sending
from api.tasks import Label, Labels, NamedLabel
from api.wire import PREFIX, Call, Nothing, fault_of
from schema.errors import Conflict, NotFound, RequestError
from schema.events import QuestionLabeled
from schema.ids import uuid7
from schema.privacy import mask
from schema.settings import Settings
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import QUESTION_LABELED
from schema.tracing import continued

REPEATS: Final = uuid.UUID("0f6a4a0e-8b1d-5c39-9d57-3f2f6f3f0b61")


@dataclass(frozen=True, slots=True)
class Target:
    """A question that may be labelled, and the copies of it that are labelled with it."""

    row: Row[Any]
    copies: tuple[int, ...]


async def label(api: Api, call: Call[Label, Nothing]) -> dict[str, Any]:
    """Send ``question.labeled``. The streams worker applies it: ask for the question to see it done.

    With ``apply_to_group`` each near-identical copy gets an event too; `question_ids` names all of them.
    """
    number, said = question_id(call.path["id"]), call.body
    found = (await api.database(lambda connection: targets(connection, {number: said.apply_to_group})))[number]
    if isinstance(found, RequestError):
        raise found
    event_id = _event_id(call, number)
    await send_labels(api, [(found, said, event_id)], call.traceparent)
    look = f"{PREFIX}/questions/{number}"
    return {"event_id": str(event_id), "question_id": number, "question_ids": [number, *found.copies], "look": look}


async def labels(api: Api, call: Call[Labels, Nothing]) -> dict[str, Any]:
    """Send many labels. Each has a result of its own, in their order: 202, or 404, 409 or 422 with what is wrong."""
    read = [_read(one) for one in call.body.labels]
    wanted: dict[int, bool] = {}
    for one in read:
        if isinstance(one, NamedLabel):
            wanted[one.question_id] = wanted.get(one.question_id, False) or one.apply_to_group
    found = await api.database(lambda connection: targets(connection, wanted))
    results: list[dict[str, Any]] = []
    good = []
    for given, one in zip(call.body.labels, read, strict=True):
        target = found[one.question_id] if isinstance(one, NamedLabel) else one
        if isinstance(target, RequestError):
            number = given.get("question_id") if isinstance(given, dict) else None
            error = {"code": target.code, "message": str(target), "field": target.field}
            results.append({"question_id": number, "status": target.status, "error": error})
        elif isinstance(one, NamedLabel):
            chosen = target if one.apply_to_group else Target(target.row, ())
            good.append((chosen, one, uuid7()))
            results.append({"question_id": one.question_id, "status": 202})
    if good:
        await send_labels(api, good, call.traceparent)
    return {"results": results, "accepted": len(good)}


def _read(given: Any) -> NamedLabel | RequestError:
    try:
        return NamedLabel.model_validate(given, strict=True)
    except ValidationError as error:
        return fault_of(error)


Given = Sequence[tuple[Target, Label, uuid.UUID]]
"""Labels with what they are for, and the ids of their events."""


async def send_labels(api: Api, given: Given, traceparent: str | None) -> None:
    """Send `given` to Kafka, with their copies, and keep that they were given.

    Kafka comes first: what is kept here and never sent would keep a question from everyone.
    """
    await publish_labels(api, given, traceparent)
    await api.database(lambda connection: keep_labels(connection, api.settings, given))


async def publish_labels(api: Api, given: Given, traceparent: str | None) -> None:
    """Send an event for each question that `given` label."""
    now = datetime.now(UTC)
    sendings = []
    for target, said, event_id in given:
        time_intent = said.correct_time_intent
        for number in (target.row.id, *target.copies):
            event = QuestionLabeled(
                question_id=number,
                correct_intent=said.correct_intent,
                correct_time_intent=time_intent and time_intent.model_copy(update={"description": mask(time_intent.description)}),
                labeler_id=said.labeler_id,
                labeled_at=now,
            )
            identity = event_id_of(event_id, number, target.row.id)
            trace = continued(traceparent) or continued(target.row.traceparent)
            sendings.append(Sending(event, str(number), str(identity), trace))
    await api.publish(QUESTION_LABELED, *sendings)


def keep_labels(connection: Connection, settings: Settings, given: Given) -> None:
    """Keep that `given` were sent; they end their leases."""
    for target, said, event_id in given:
        row = target.row
        made = Decision(event_id, "label", said.labeler_id, row.id, row.text_hash, target.copies)
        keep(connection, made, utc_now(), answer=list(said.correct_intent))
        blind = give_back(connection, said.labeler_id, [row.text_hash]) > 0  # handed out, so without what others said
        note(
            connection,
            labeler=said.labeler_id,
            question_id=row.id,
            text_hash=row.text_hash,
            answer=said.correct_intent,
            blind=blind,
            in_share=in_share(row.text_hash, settings.review_share, "review"),
        )


def event_id_of(decision: uuid.UUID, number: int, main: int) -> uuid.UUID:
    """The id of the event for question `number`, where the decision is on question `main`."""
    return decision if number == main else uuid.uuid5(decision, str(number))


def targets(connection: Connection, wanted: Mapping[int, bool]) -> dict[int, Target | RequestError]:
    """The questions that are to be labelled, with their copies where `wanted` says so; or why they cannot be."""
    rows = {row.id: row for row in connection.execute(select(questions).where(questions.c.id.in_(sorted(wanted))))}
    told: dict[int, Target | RequestError] = {}
    for number, with_copies in wanted.items():
        row = rows.get(number)
        if row is None:
            told[number] = NotFound("unknown_question", f"there is no question {number}", "id")
        elif not row.consent_training or row.training_status == "skipped":
            told[number] = Conflict("no_consent", f"question {number} was asked without consent to training", "id")
        else:
            told[number] = Target(row, _copies(connection, row) if with_copies else ())
    return told


def _copies(connection: Connection, row: Row[Any]) -> tuple[int, ...]:
    """The other questions with the text of `row`: those that wait, and those that were labelled together with it."""
    together = and_(questions.c.labeler_id == row.labeler_id, questions.c.labeled_at == row.labeled_at)
    which = and_(may_be_labelled(), or_(is_waiting(), together) if row.is_labeled else is_waiting())
    found = copies(connection, [row.text_hash], which).get(row.text_hash, [])
    return tuple(number for number in found if number != row.id)


def _event_id(call: Call[Label, Nothing], number: int) -> uuid.UUID:
    """A new id, or with a key the same id for the same label: then a repeat after a lost answer is applied once.

    Without a key it must be new: a label that returns to an earlier one is not a repeat.
    """
    if call.idempotency_key is None:
        return uuid7()
    return uuid.uuid5(REPEATS, f"{number}\n{call.idempotency_key}\n{call.body.model_dump_json()}")
