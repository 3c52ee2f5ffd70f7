"""A label that is taken back leaves everything as if it had not been given: the question, the rollups, the rules."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from schema.database import in_transaction
from schema.events import LabelApplied, MatchedRule
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_label_history as history
from schema.tables import intent_user_questions as questions
from schema.tables import outbox
from streams.labels import apply_labels
from tests.deliveries import NOW, asked, assert_rollups_hold, batch, labelled, store


@pytest.fixture
def stored(engine: Engine) -> Engine:
    """Three questions in which two rules spoke."""
    common = {"confidence_boost": 0.3, "source": "manual", "created_at": NOW, "updated_at": NOW, "intent": "wealth"}
    with engine.begin() as connection:
        connection.execute(rules.insert(), [common | {"keyword": word} for word in ("财运", "彩票")])
    said = asked("财运", "wealth").classification
    assert said is not None
    spoke = [MatchedRule(keyword=word, intent="wealth") for word in ("财运", "彩票")]
    store(engine, batch(*[asked("财运", classification=said.model_copy(update={"matched_rules": spoke}))] * 3))
    return engine


def apply(engine: Engine, *events: Any) -> int:
    applied, refused = in_transaction(engine, partial(apply_labels, labels=events))
    assert refused == []
    return applied


def state(engine: Engine) -> tuple[Any, ...]:
    """What labels change, but for the history."""
    q, r = questions.c, rules.c
    label = (q.is_labeled, q.correct_intent, q.correct_time_intent, q.labeler_id, q.labeled_at)
    with engine.connect() as connection:
        return (
            connection.execute(select(*label, q.training_status, q.waiting_since).order_by(q.id)).all(),
            connection.execute(select(r.success_count, r.failure_count).order_by(r.id)).all(),
            assert_rollups_hold(engine),
        )


def test_undo_goes_one_step_back(stored: Engine) -> None:
    states = [state(stored)]
    for intent in ("wealth", "career", "health"):
        apply(stored, labelled(1, intent))
        states.append(state(stored))
    for before in reversed(states[:-1]):
        apply(stored, labelled(1, "health", takes_back="last"))
        assert state(stored) == before
    apply(stored, labelled(1, "health", takes_back="last"))
    assert state(stored) == states[0], "nothing is left to take back"


def test_an_undo_takes_back_the_labelers_own_label(stored: Engine) -> None:
    apply(stored, labelled(1, "career", labeler_id="bob"), labelled(1, "wealth"), labelled(1, "health", labeler_id="bob"))
    full = state(stored)
    apply(stored, labelled(1, "wealth", takes_back="last"))
    assert state(stored) == full, "a label under another one goes without a trace"
    apply(stored, labelled(1, "health", labeler_id="bob", takes_back="last"))
    [row, *_], _, _ = state(stored)
    assert (row.correct_intent, row.labeler_id) == (["career"], "bob")


def test_a_repeated_undo_takes_nothing_more_back(stored: Engine) -> None:
    undo = labelled(1, "wealth", takes_back="last", event_id="undo-1")
    apply(stored, undo, labelled(1, "wealth", event_id="l-1"))
    labelled_once = state(stored)
    assert apply(stored, undo, labelled(1, "wealth", event_id="l-1"), undo) == 0
    assert state(stored) == labelled_once


def test_a_question_that_is_sent_back_waits_again_whatever_learned_it(stored: Engine) -> None:
    before = state(stored)
    apply(stored, labelled(1, "career", labeler_id="bob"), labelled(1, "wealth"))
    used = {"training_status": "used", "training_batch_id": "b-1", "training_model_version": "v1"}
    with stored.begin() as connection:
        connection.execute(update(questions).where(questions.c.id == 1).values(used))
    apply(stored, labelled(1, "wealth", labeler_id="rev", takes_back="all"))
    assert state(stored) == before
    with stored.connect() as connection:
        row = connection.execute(select(questions).where(questions.c.id == 1)).one()
        assert (row.training_batch_id, row.training_model_version) == (None, None)
        told = [LabelApplied.model_validate_json(event) for event in connection.execute(select(outbox.c.event)).scalars()]
        assert [one.takes_back for one in told] == [None, None, "all"]


@pytest.mark.parametrize("seed", range(3))
def test_any_story_in_any_batches_ends_as_its_standing_labels_say(stored: Engine, seed: int) -> None:
    """Labels and undos of three people, cut into batches anyhow and redelivered, against a model of it."""
    chance = random.Random(seed)
    left: dict[int, list[tuple[str, str]]] = {1: [], 2: [], 3: []}
    events = []
    for _ in range(60):
        number, by = chance.randint(1, 3), chance.choice("abc")
        intent, takes_back = chance.choice(("wealth", "career", "health")), chance.choice((None, None, "last", "all"))
        events.append(labelled(number, intent, labeler_id=by, takes_back=takes_back))
        mine = [place for place, (_, who) in enumerate(left[number]) if who == by]
        if takes_back is None:
            left[number].append((intent, by))
        elif takes_back == "all":
            left[number].clear()
        elif mine:
            del left[number][mine[-1]]
    at = 0
    while at < len(events):
        end = at + chance.choice((1, 5, 60)) if at else 20
        apply(stored, *events[at:end])
        apply(stored, *events[max(0, at - 5) : end])
        at = end
    rows, judged, _ = state(stored)
    assert [(row.correct_intent, row.labeler_id) if row.is_labeled else None for row in rows] == [
        ([labels[-1][0]], labels[-1][1]) if labels else None for labels in left.values()
    ]
    labels = [row.correct_intent for row in rows if row.is_labeled]
    right = sum("wealth" in label for label in labels)
    assert [tuple(row) for row in judged] == [(right, len(labels) - right)] * 2
    with stored.connect() as connection:
        assert len(connection.execute(select(history.c.id)).all()) == len(events)
