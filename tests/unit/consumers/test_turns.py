"""Questions that share a turn get what they would get alone, and nobody pays for another: not in time, not with an error."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.answers import Answers, Overloaded, Question, TooLate
from consumers.turns import Limits, Turns
from consumers.units import Loaded, Units
from inference.pipeline import Pipeline
from inference.rules import KeywordRules, Reading, RuleSet
from schema.errors import ArtefactError, TransientError
from schema.events import Classification, ModelActivated
from schema.producer import EventProducer
from schema.settings import Settings
from training.corpus import seed_rows

QUESTIONS = [row.question for row in seed_rows()[:40]]
WHEN = datetime(2026, 5, 1, tzinfo=UTC)
Work = Callable[[Pipeline, Sequence[str]], list[Classification]]


@pytest.fixture(scope="module")
def unit(parent: Path) -> Pipeline:
    return Pipeline.load(parent, threads=2, confidence=0.6)


def answer(unit: Pipeline, questions: Sequence[str]) -> list[Classification]:
    return unit.answer_together([(question, WHEN) for question in questions])


def assert_same(told: Sequence[Classification], wanted: Sequence[Classification]) -> None:
    """But for the time they took, and the noise of float32."""
    assert [said.confidence for said in told] == pytest.approx([said.confidence for said in wanted], abs=1e-5)
    changes = {"response_time_ms": 0, "confidence": 0.5}
    assert [said.model_copy(update=changes) for said in told] == [said.model_copy(update=changes) for said in wanted]


class Held:
    """Work that waits for `go`, and remembers the turns."""

    def __init__(self, work: Work = answer) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.turns: list[tuple[Pipeline, list[str]]] = []
        self._work = work

    def __call__(self, unit: Pipeline, questions: Sequence[str]) -> list[Classification]:
        self.turns.append((unit, list(questions)))
        self.entered.set()
        assert self.go.wait(20)
        return self._work(unit, questions)


Line = Turns[Pipeline, str, Classification]


@contextmanager
def line(held: Held, questions: int = 8, threads: int = 1) -> Iterator[Line]:
    """So many threads, of which a version gets one."""
    turns: Line = Turns(held, lambda _: Limits(questions, 1), threads=threads)
    try:
        yield turns
    finally:
        held.go.set()
        turns.stop()


def occupy(turns: Line, unit: Pipeline, held: Held) -> Future[Classification]:
    """Ask `QUESTIONS[0]`; returns once its turn has come."""
    first = turns.ask(unit, QUESTIONS[0])
    assert held.entered.wait(20)
    return first


def test_who_waits_is_answered_together_and_as_if_alone(unit: Pipeline) -> None:
    assert unit.predictor.at_once == 8, "the export says that its rows are independent"
    held = Held()
    with line(held) as turns:
        asked = [occupy(turns, unit, held), *(turns.ask(unit, question) for question in QUESTIONS[1:])]
        held.go.set()
        told = [one.result(30) for one in asked]
    assert_same(told, [unit.answer_local(question, WHEN) for question in QUESTIONS])
    assert [len(questions) for _, questions in held.turns] == [1, 8, 8, 8, 8, 7]


def test_who_gave_up_is_passed_over_before_anything_is_computed(unit: Pipeline) -> None:
    held = Held()
    with line(held) as turns:
        occupy(turns, unit, held)
        asked = [turns.ask(unit, question) for question in QUESTIONS[1:7]]
        assert all(one.cancel() for one in asked[::2])
        held.go.set()
        told = [one.result(30) for one in asked[1::2]]
    assert [questions for _, questions in held.turns[1:]] == [[QUESTIONS[2], QUESTIONS[4], QUESTIONS[6]]]
    assert [said.intents for said in told] == [unit.answer_local(QUESTIONS[i]).intents for i in (2, 4, 6)]
    for one in asked[::2]:
        with pytest.raises(CancelledError):
            one.result(0)


def test_a_bad_question_fails_alone(unit: Pipeline) -> None:
    bad = QUESTIONS[3]

    def fails(unit: Pipeline, questions: Sequence[str]) -> list[Classification]:
        if bad in questions:
            raise ArtefactError("the model fails on a question")
        return answer(unit, questions)

    held = Held(fails)
    with line(held) as turns:
        occupy(turns, unit, held)
        asked = {question: turns.ask(unit, question) for question in QUESTIONS[1:7]}
        held.go.set()
        with pytest.raises(ArtefactError, match="fails on a question"):
            asked.pop(bad).result(30)
        for question, one in asked.items():
            assert_same([one.result(30)], [unit.answer_local(question, WHEN)])


def test_work_that_forgets_an_answer_ends_no_thread(unit: Pipeline) -> None:
    held = Held(lambda unit, questions: [] if QUESTIONS[1] in questions else answer(unit, questions))
    held.go.set()
    with line(held) as turns:
        with pytest.raises(ValueError, match="zip"):
            turns.ask(unit, QUESTIONS[1]).result(30)
        assert turns.ask(unit, QUESTIONS[2]).result(30).intents


def test_versions_never_share_a_turn_and_keep_their_order(unit: Pipeline) -> None:
    other = replace(unit, version="other")
    held = Held()
    with line(held) as turns:
        occupy(turns, unit, held)
        asked = [turns.ask(other if i % 2 else unit, QUESTIONS[i]) for i in range(1, 7)]
        held.go.set()
        said = [one.result(30).model_version for one in asked]
    assert said == ["other", "v0"] * 3
    assert [(u.version, q) for u, q in held.turns[1:]] == [("other", QUESTIONS[1:7:2]), ("v0", QUESTIONS[2:7:2])]


def test_a_version_that_is_slow_leaves_a_thread_to_the_other(unit: Pipeline) -> None:
    slow, other = replace(unit, version="slow"), replace(unit, version="other")
    held = Held()

    def work(unit: Pipeline, questions: Sequence[str]) -> list[Classification]:
        return held(unit, questions) if unit.version == "slow" else answer(unit, questions)

    turns: Line = Turns(work, lambda _: Limits(8, 1), threads=2)
    try:
        first = occupy(turns, slow, held)
        waiting = [turns.ask(slow, question) for question in QUESTIONS[1:4]]
        assert turns.ask(other, QUESTIONS[4]).result(30).model_version == "other"
        assert not any(one.done() for one in (first, *waiting))
        held.go.set()
        assert {one.result(30).model_version for one in (first, *waiting)} == {"slow"}
    finally:
        held.go.set()
        turns.stop()


def test_a_model_whose_rows_hang_on_their_neighbours_is_asked_one_by_one(unit: Pipeline) -> None:
    held = Held()
    with line(held, questions=1) as turns:
        occupy(turns, unit, held)
        asked = [turns.ask(unit, question) for question in QUESTIONS[1:5]]
        held.go.set()
        assert all(one.result(30) for one in asked)
    assert [questions for _, questions in held.turns] == [[question] for question in QUESTIONS[:5]]


def test_a_version_that_is_replaced_is_let_go() -> None:
    class Version:
        """Something to be gone."""

    turns: Turns[Version, str, str] = Turns(lambda _, asked: [text.upper() for text in asked], lambda _: Limits(8, 1), threads=2)
    version = Version()
    assert turns.ask(version, "a").result(20) == "A"
    gone = weakref.ref(version)
    del version
    for _ in range(200):
        if gone() is None:
            break
        threading.Event().wait(0.01)  # the thread may still be on its way back
    assert gone() is None
    turns.stop()


def test_stop_answers_who_waits_and_then_takes_nobody(unit: Pipeline) -> None:
    held = Held()
    turns: Line = Turns(held, lambda _: Limits(8, 2), threads=2)
    occupy(turns, unit, held)
    asked = [turns.ask(unit, question) for question in QUESTIONS[1:20]]
    held.go.set()
    turns.stop()
    assert all(one.done() and one.result().intents for one in asked)
    with pytest.raises(TransientError, match="stopping"):
        turns.ask(unit, QUESTIONS[0])


class HeldRules(KeywordRules):
    """Rules that are silent, and wait for `go` before they are."""

    def __init__(self) -> None:
        super().__init__(RuleSet(revision=0, rules=[]))
        self.go = threading.Event()
        self.entered = threading.Event()
        self.asked: list[str] = []

    def read(self, question: str) -> Reading:
        self.asked.append(question)
        self.entered.set()
        assert self.go.wait(20)
        return super().read(question)


@pytest.fixture
def replica() -> Iterator[Answers]:
    settings = Settings(kafka="127.0.0.1:9", inference_threads=1, answer_queue=4)
    with EventProducer(settings, source="test") as producer:
        answers = Answers(settings, producer)
        yield answers
        answers.stop()


async def test_a_question_whose_deadline_came_while_it_waited_is_never_asked(replica: Answers, unit: Pipeline) -> None:
    rules = HeldRules()
    activation = ModelActivated(
        generation=1,
        version="v0",
        rules_revision=0,
        model_url="file:///none",
        manifest_sha256="0" * 64,
        activated_by="test",
        reason="test",
        activated_at=WHEN,
    )
    units = Units(Loaded.of(replace(unit, rules=rules), activation))

    def ask(question: str, timeout_ms: int | None = None) -> asyncio.Task[Classification]:
        return asyncio.create_task(replica.answer(Question(question=question, timeout_ms=timeout_ms), units))

    first = ask("明年财运怎么样")
    assert await asyncio.to_thread(rules.entered.wait, 20)
    hasty, patient, left = ask("事业如何", timeout_ms=20), ask("姻缘如何"), ask("健康如何")
    with pytest.raises(TooLate, match="20 ms"):
        await hasty
    left.cancel()  # as when a client closes its connection
    await asyncio.wait([left])
    waiting = [ask("学业如何"), ask("运势如何")]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await ask("还有一个")
    rules.go.set()
    assert all(await asyncio.gather(first, patient, *waiting))
    assert rules.asked == ["明年财运怎么样", "姻缘如何", "学业如何", "运势如何"]
    assert units.serving.figures.told().answered == 4
