"""Review: where two people disagreed, what somebody flagged, and labels that look wrong to the last training."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from api.agreement import alpha, kappa, per_intent
from api.decisions import check_unused, taking_back
from api.groups import may_be_labelled
from api.labels import keep_labels, publish_labels, targets
from api.questions import question_id
from api.state import Api, Sending
from api.tasks import Label, Review, ReviewListing
from api.wire import PREFIX, Call, Nothing
from schema.errors import RequestError
from schema.ids import uuid7
from schema.label_history import holding
from schema.privacy import mask
from schema.tables import intent_label_suspects as suspects
from schema.tables import intent_question_marks as marks
from schema.tables import intent_reviews as reviews
from schema.tables import intent_second_opinions as opinions
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.taxonomy import INTENTS
from schema.topics import QUESTION_LABELED

REVIEWS: Final = uuid.UUID("b8d7e0a4-93f5-5a44-8a5e-6f6f0d2f5c77")
MEASURED: Final = 20_000
"""Agreement is that of so many of the last questions that two people answered."""
KINDS: Final = ("disagreement", "flag", "suspect")
Items = list[dict[str, Any]]


async def review(api: Api, call: Call[Nothing, ReviewListing]) -> dict[str, Any]:
    """What waits for a reviewer: of one kind, or disagreements, then flags, then suspects, the most suspicious first."""
    asked = call.query

    def work(connection: Connection) -> dict[str, Any]:
        kinds: list[str] = [asked.kind] if asked.kind else list(KINDS)
        place: tuple[int, ...] = ()
        if asked.cursor is not None:
            kind, *numbers = asked.cursor.split("-")
            kinds, place = kinds[kinds.index(kind) :] if kind in kinds else [], tuple(map(int, numbers))
        found: Items = []
        for kind in kinds:
            found += _LISTS[kind](connection, place, asked.limit + 1 - len(found))
            place = ()
            if len(found) > asked.limit:
                break
        more, found = len(found) > asked.limit, found[: asked.limit]
        cursor = f"{found[-1]['kind']}-{'-'.join(map(str, found[-1]['place']))}" if more else None
        _add_answers(connection, found)
        return {"items": [{k: v for k, v in one.items() if k != "place"} for one in found], "next_cursor": cursor}

    return await api.database(work)


_SHOWN: Final = (questions.c.id, questions.c.question, questions.c.correct_intent)


def _item(row: Any, kind: str, place: tuple[int, ...], **more: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "question": row.question,
        "kind": kind,
        "comment": None,
        "answers": None,
        "current": row.correct_intent,
        "place": place,
        **more,
    }


def _disagreements(connection: Connection, after: tuple[int, ...], limit: int) -> Items:
    o = opinions.c
    answers = (o.first_labeler, o.first_answer, o.first_at, o.second_labeler, o.second_answer, o.second_at)
    chosen = select(*_SHOWN, *answers).join(opinions, o.question_id == questions.c.id)
    waiting = and_(o.agreed.is_(False), o.reviewed_at.is_(None), may_be_labelled(), o.question_id > (after[0] if after else 0))
    found = []
    for row in connection.execute(chosen.where(waiting).order_by(o.question_id).limit(limit)):
        both = (row.first_labeler, row.first_answer, row.first_at), (row.second_labeler, row.second_answer, row.second_at)
        told = [{"labeler_id": who, "intents": said, "labeled_at": when} for who, said, when in both]
        found.append(_item(row, "disagreement", (row.id,), answers=told))
    return found


def _flags(connection: Connection, after: tuple[int, ...], limit: int) -> Items:
    chosen = select(*_SHOWN, marks.c.id.label("mark"), marks.c.comment, marks.c.labeler_id, marks.c.created_at)
    waiting = and_(
        marks.c.kind == "flag", marks.c.closed_at.is_(None), may_be_labelled(), marks.c.id > (after[0] if after else 0)
    )
    rows = connection.execute(
        chosen.join(marks, marks.c.question_id == questions.c.id).where(waiting).order_by(marks.c.id).limit(limit)
    )
    return [_item(row, "flag", (row.mark,), comment=row.comment, flagged_by=row.labeler_id) for row in rows]


def _suspects(connection: Connection, after: tuple[int, ...], limit: int) -> Items:
    s = suspects.c
    reviewed = exists().where(reviews.c.question_id == s.question_id, reviews.c.created_at > s.labeled_at)
    waiting = and_(questions.c.labeled_at == s.labeled_at, may_be_labelled(), ~reviewed)
    if len(after) > 1:
        quality = after[0] / 10_000
        waiting = and_(waiting, or_(s.quality > quality, and_(s.quality == quality, s.question_id > after[1])))
    chosen = select(*_SHOWN, s.quality, s.suggested).join(suspects, s.question_id == questions.c.id).where(waiting)
    rows = connection.execute(chosen.order_by(s.quality, s.question_id).limit(limit))
    return [_item(row, "suspect", (round(row.quality * 10_000), row.id), suspect_of=row.suggested) for row in rows]


_LISTS: Final[dict[str, Callable[[Connection, tuple[int, ...], int], Items]]] = {
    "disagreement": _disagreements,
    "flag": _flags,
    "suspect": _suspects,
}


def _add_answers(connection: Connection, found: Items) -> None:
    """The labels that hold, where the item has not brought its answers."""
    lacking = [one for one in found if one["answers"] is None]
    labels = holding(connection, {one["id"] for one in lacking}) if lacking else {}
    for one in lacking:
        one["answers"] = [
            {"labeler_id": label["labeler_id"], "intents": label["correct_intent"], "labeled_at": label["labeled_at"]}
            for label in labels[one["id"]]
        ]


async def decide_review(api: Api, call: Call[Review, Nothing]) -> dict[str, Any]:
    """End a review. A repeat changes nothing more.

    ``accept``: the label stands; a flagged question without one stays out of the queue. ``correct``: a new label for it and its
    copies. ``send_back``: no label, it waits for one again. Labels change through Kafka: ask for the question to see it done.
    """
    number, said = question_id(call.path["id"]), call.body
    if said.action == "correct" and said.correct_intent is None:
        raise RequestError("missing_field", "correct_intent: say what is right", "correct_intent")
    key = call.idempotency_key
    decision = uuid7() if key is None else uuid.uuid5(REVIEWS, f"{number}\n{key}\n{said.model_dump_json()}")
    target = (await api.database(lambda connection: targets(connection, {number: True})))[number]
    if isinstance(target, RequestError):
        raise target
    numbers = [number, *target.copies]
    given = []
    if said.action == "correct" and said.correct_intent is not None:
        given = [(target, Label(correct_intent=said.correct_intent, labeler_id=said.labeler_id), decision)]
        await publish_labels(api, given, call.traceparent)
    elif said.action == "send_back":
        sent = await api.database(lambda connection: _sent_back(connection, number, said.labeler_id, decision))
        numbers = [int(one.key) for one in sent] or [number]
        if sent:
            await api.publish(QUESTION_LABELED, *sent)

    def work(connection: Connection) -> None:
        _close(connection, number, target.row.text_hash, said, numbers)
        keep_labels(connection, api.settings, given)

    await api.database(work)
    return {"question_id": number, "action": said.action, "question_ids": numbers, "look": f"{PREFIX}/questions/{number}"}


def _sent_back(connection: Connection, number: int, labeler: str, decision: uuid.UUID) -> list[Sending]:
    """The events that take all labels of the question, and of the copies labelled together with it, back.

    Raises:
        Conflict: a training has used it.
    """
    row = connection.execute(select(questions).where(questions.c.id == number)).one()
    mine = select(marks.c.decision).where(marks.c.question_id == number, marks.c.kind.in_(("label", "copy")))
    of_them = and_(marks.c.text_hash == row.text_hash, marks.c.decision.in_(list(connection.execute(mine).scalars())))
    together = set(connection.execute(select(marks.c.question_id).where(of_them)).scalars())
    if not together and not row.is_labeled:
        return []
    numbers = sorted({number, *together})
    check_unused(connection, numbers)
    chosen = select(questions.c.id, questions.c.correct_intent).where(questions.c.id.in_(numbers))
    answers = {row.id: row.correct_intent for row in connection.execute(chosen)}
    unknown = ["general"]  # a label on its way: what is taken back is not known here, and nothing depends on it
    return [taking_back(one, answers[one] or unknown, labeler, "all", uuid.uuid5(decision, str(one))) for one in numbers]


def _close(connection: Connection, number: int, text_hash: bytes, said: Review, numbers: list[int]) -> None:
    """Nothing about the question waits for a review any more."""
    now: datetime = utc_now()
    flags = and_(marks.c.text_hash == text_hash, marks.c.kind == "flag")
    if said.action == "accept":
        connection.execute(update(marks).where(flags, marks.c.closed_at.is_(None)).values(closed_at=now))
    else:
        connection.execute(delete(marks).where(flags))
    if said.action == "send_back":
        sent = and_(marks.c.question_id.in_(numbers), marks.c.kind.in_(("label", "copy")))
        connection.execute(delete(marks).where(sent))
    its_own = and_(opinions.c.text_hash == text_hash, opinions.c.reviewed_at.is_(None))
    connection.execute(update(opinions).where(its_own).values(reviewed_at=now))
    row = {
        "question_id": number,
        "action": said.action,
        "labeler_id": said.labeler_id,
        "correct_intent": said.correct_intent,
        "comment": mask(said.comment)[:500] or None,
        "created_at": now,
    }
    connection.execute(reviews.insert(), row)


async def agreement(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """How far two people agree who answered the same question blind: `api.agreement` says how it is measured.

    ``per_intent``: whether an answer holds the intent; ``n`` questions have it in an answer. ``pairs``: whole answers.
    """

    def work(connection: Connection) -> dict[str, Any]:
        o = opinions.c
        chosen = select(o.first_labeler, o.first_answer, o.second_labeler, o.second_answer).where(o.second_labeler.is_not(None))
        rows = connection.execute(chosen.order_by(o.second_at.desc()).limit(MEASURED)).all()
        both = [(frozenset(row.first_answer), frozenset(row.second_answer)) for row in rows]
        by_pair: defaultdict[tuple[str, str], list[tuple[frozenset[str], frozenset[str]]]] = defaultdict(list)
        for row, (one, other) in zip(rows, both, strict=True):
            swapped = row.first_labeler > row.second_labeler
            names = (row.second_labeler, row.first_labeler) if swapped else (row.first_labeler, row.second_labeler)
            by_pair[names].append((other, one) if swapped else (one, other))
        intents = {intent: per_intent(both, intent) for intent in INTENTS}
        return {
            "questions": len(both),
            "alpha": alpha(both),
            "per_intent": {intent: {"kappa": value, "n": number} for intent, (value, number) in intents.items()},
            "pairs": [{"a": a, "b": b, "kappa": kappa(pairs), "n": len(pairs)} for (a, b), pairs in sorted(by_pair.items())],
        }

    return await api.database(work)
