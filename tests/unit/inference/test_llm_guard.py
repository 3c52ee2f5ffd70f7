"""Circuit, budget and kept answers by themselves, where the order of events matters."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from inference.llm_guard import LONGEST_PAUSE, Budget, Circuit, Known, LlmFailed


@pytest.fixture
def circuit(clock: Any) -> Circuit:
    return Circuit(failures=2, seconds=30, clock=clock)


def open_up(circuit: Circuit) -> None:
    for _ in range(2):
        circuit.failed(circuit.enter())


def test_a_success_between_failures_begins_the_count_again(circuit: Circuit) -> None:
    for _ in range(5):
        circuit.failed(circuit.enter())
        circuit.succeeded(circuit.enter())
    assert not circuit.is_open


def test_a_call_from_before_neither_closes_nor_prolongs(circuit: Circuit, clock: Any) -> None:
    slow, slower = circuit.enter(), circuit.enter()
    open_up(circuit)
    circuit.succeeded(slow)
    assert circuit.is_open
    clock.now = 29
    circuit.failed(slower, pause=1000)
    circuit.leave(slower)
    clock.now = 30
    circuit.enter()


def test_a_probe_that_says_nothing_makes_room_for_the_next(circuit: Circuit, clock: Any) -> None:
    open_up(circuit)
    clock.now = 30
    probe = circuit.enter()
    with pytest.raises(LlmFailed, match="well again"):
        circuit.check()
    circuit.leave(probe)
    circuit.succeeded(circuit.enter())
    assert not circuit.is_open


def test_looking_is_not_probing(circuit: Circuit, clock: Any) -> None:
    open_up(circuit)
    clock.now = 30
    circuit.check()
    circuit.check()
    circuit.enter()


def test_one_failure_after_a_recovery_does_not_open_it(circuit: Circuit, clock: Any) -> None:
    open_up(circuit)
    clock.now = 30
    circuit.succeeded(circuit.enter())
    circuit.failed(circuit.enter())
    assert not circuit.is_open


def test_no_endpoint_sends_us_away_for_a_day(circuit: Circuit, clock: Any) -> None:
    circuit.failed(circuit.enter(), pause=float("inf"))
    clock.now = LONGEST_PAUSE - 1
    with pytest.raises(LlmFailed, match="1 s more"):
        circuit.check()
    clock.now = LONGEST_PAUSE
    circuit.check()


def test_without_limits_anything_may_be_spent() -> None:
    budget = Budget(calls=0, cost=0, today=lambda: date(2026, 1, 1))
    for _ in range(1000):
        budget.take()
        budget.spend(1e6)


def test_the_answers_used_last_are_kept(clock: Any) -> None:
    known = Known[int](size=2, seconds=60, clock=clock)
    known.put(b"a", 1)
    known.put(b"b", 2)
    assert known.get(b"a") == 1
    known.put(b"c", 3)
    assert [known.get(key) for key in (b"a", b"b", b"c")] == [1, None, 3]
    assert len(known) == 2


def test_a_use_does_not_make_an_answer_younger(clock: Any) -> None:
    known = Known[int](size=2, seconds=60, clock=clock)
    known.put(b"a", 1)
    clock.now = 59
    assert known.get(b"a") == 1
    clock.now = 60
    assert known.get(b"a") is None
    assert len(known) == 0


def test_nothing_is_kept_where_nothing_may_be(clock: Any) -> None:
    known = Known[int](size=0, seconds=60, clock=clock)
    known.put(b"a", 1)
    assert known.get(b"a") is None
