"""Rollups, rules and consent: exact whatever happens at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine, select, update

from schema.database import in_transaction
from schema.events import Consent, MatchedRule
from schema.privacy import pseudonym
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_user_questions as questions
from streams.labels import apply_labels, withdraw_consent
from streams.questions import store_questions
from tests.deliveries import HOUR, KEY, NOW, Batch, asked, assert_rollups_hold, batch, label, labelled, rows_of, store


def test_rollups_equal_a_recount_after_every_kind_of_change(engine: Engine) -> None:
    classified = asked("财运", "wealth", "career").classification
    assert classified is not None
    events = batch(
        *(asked("财运", "wealth", "career", user_id=f"u{n % 2}") for n in range(6)),
        asked("财运", classification=None),
        asked("财运", consent=None),
        asked("财运", consent=Consent(training=False), user_id=None),
        asked("财运", user_id="u1", classification=classified.model_copy(update={"method": "llm_fallback"})),
    )
    store(engine, events)
    assert assert_rollups_hold(engine)["questions", "waiting"] == 8
    store(engine, [*events, *batch(asked("跳槽"))], NOW + 40 * 24 * HOUR)
    assert assert_rollups_hold(engine)["questions", "total"] == 11
    label(engine, 1, "career", "wealth", event_id="l-1")
    label(engine, 1, "health", event_id="l-1")
    assert assert_rollups_hold(engine)["correct", "v0"] == 1
    label(engine, 2, "health")
    label(engine, 7, "health", "marriage")
    assert_rollups_hold(engine)
    with engine.begin() as connection:
        connection.execute(update(questions).where(questions.c.id <= 2).values(training_status="used"))
    label(engine, 1, "nayin")
    assert ("correct", "v0") not in assert_rollups_hold(engine)
    for user, skipped in (("u1", 3), ("u1", 0), ("nobody", 0)):
        assert withdraw(engine, user) == skipped
        assert_rollups_hold(engine)
    store(engine, batch(asked("跳槽", user_id="u1")))
    assert assert_rollups_hold(engine)["questions", "skipped"] == 6


def withdraw(engine: Engine, user: str) -> int:
    return in_transaction(engine, partial(withdraw_consent, user_id=pseudonym(user, KEY), withdrawn_at=NOW))


@pytest.mark.parametrize("first", ["question", "withdrawal"])
def test_a_question_that_meets_a_withdrawal_is_never_offered_for_training(engine: Engine, first: str) -> None:
    """Whichever of two open transactions writes first, the other one waits for it, or is repeated after it."""
    rows = rows_of(batch(asked("财运", user_id="u1")), NOW)
    work = {
        "question": partial(store_questions, batch=rows),
        "withdrawal": partial(withdraw_consent, user_id=pseudonym("u1", KEY), withdrawn_at=NOW),
    }
    [later] = work.keys() - {first}
    with ThreadPoolExecutor(1) as other:
        with engine.begin() as connection:
            work[first](connection)
            waiting = other.submit(in_transaction, engine, work[later])
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
        waiting.result(30)
    with engine.connect() as connection:
        found = connection.execute(select(questions.c.consent_training, questions.c.training_status)).all()
    assert found == [(False, "skipped")]
    assert_rollups_hold(engine)


def test_workers_that_share_rules_do_not_deadlock(engine: Engine) -> None:
    """Two workers label and store at once what the same rules spoke in, each in another order; no transaction is repeated."""
    words = [f"词{n}" for n in range(40)]
    common = {"intent": "wealth", "confidence_boost": 0.3, "source": "manual", "created_at": NOW, "updated_at": NOW}
    with engine.begin() as connection:
        connection.execute(rules.insert(), [common | {"keyword": word} for word in words])

    def spoken(order: Sequence[str]) -> Batch:
        spoke = [MatchedRule(keyword=word, intent="wealth") for word in order[:9]]
        said = [question.classification for question in map(asked, order) if question.classification]
        return batch(*(asked("财运", classification=one.model_copy(update={"matched_rules": spoke})) for one in said * 3))

    store(engine, [*spoken(words), *spoken(words)])
    half = 3 * len(words)

    def work(which: int) -> None:
        order = words if which else words[::-1]
        numbers = range(1, half + 1) if which else range(2 * half, half, -1)
        for turn in range(20):
            with engine.begin() as connection:
                apply_labels(connection, [labelled(n, ("wealth", "career")[turn % 2]) for n in numbers])
            with engine.begin() as connection:
                store_questions(connection, rows_of(spoken(order[turn:]), NOW))

    with ThreadPoolExecutor(2) as workers:
        list(workers.map(work, range(2)))
    assert_rollups_hold(engine)
