"""Questions wait for a thread, and those for the same version go into its model together.

Nobody waits for company: a thread that is free takes what waits at that moment. A version gets no more threads than speed it
up, so that a slow one leaves some to the other. Whoever gave up meanwhile, because a deadline came or a client left, is passed
over before anything is computed. Where several fail together each is asked again alone, so that a bad question fails alone.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from schema.errors import TransientError

V = TypeVar("V", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")


class Limits(NamedTuple):
    """How many questions a version is worth asking together, and in how many threads side by side."""

    questions: int
    threads: int


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[V, Q, A]):
    version: V
    question: Q
    answer: Future[A]


class Turns(Generic[V, Q, A]):
    """Threads that answer. How many may wait is for who asks to say."""

    def __init__(self, work: Callable[[V, Sequence[Q]], Sequence[A]], limits: Callable[[V], Limits], *, threads: int) -> None:
        """Begin.

        Args:
            work: gives the answers of one version to some questions, in their order.
            limits: what a version is worth.
            threads: how many there are for all versions.
        """
        self._work = work
        self._limits = limits
        self._news = threading.Condition()
        self._waiting: deque[_Waiting[V, Q, A]] = deque()
        self._busy: Counter[V] = Counter()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, name=f"answer-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def ask(self, version: V, question: Q) -> Future[A]:
        """Join the queue. Who cancels the answer before its turn leaves it.

        Raises:
            TransientError: `stop` was called.
        """
        one: _Waiting[V, Q, A] = _Waiting(version, question, Future())
        with self._news:
            if self._stopping:
                raise TransientError("this replica is stopping")
            self._waiting.append(one)
            self._news.notify()
        return one.answer

    def stop(self) -> None:
        """Answer what still waits, and end the threads."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Take one turn; False once nobody is to come. Nothing of a turn is kept: a version that is replaced must go."""
        turn = self._next()
        if not turn:
            return False
        self._answer(turn)
        version = turn[0].version
        with self._news:
            self._busy[version] -= 1
            self._busy += Counter()  # drops those at 0
            self._news.notify_all()
        return True

    def _next(self) -> list[_Waiting[V, Q, A]]:
        """Whose turn it is; empty once nobody is to come."""
        with self._news:
            while self._waiting or not self._stopping:
                free = (one.version for one in self._waiting if self._busy[one.version] < self._limits(one.version).threads)
                if (version := next(free, None)) is None:
                    self._news.wait()
                elif turn := self._take(version):
                    self._busy[version] += 1
                    return turn
            return []

    def _take(self, version: V) -> list[_Waiting[V, Q, A]]:
        """Who waits for `version` longest; the others keep their order."""
        most = self._limits(version).questions
        turn: list[_Waiting[V, Q, A]] = []
        others: list[_Waiting[V, Q, A]] = []
        while self._waiting and len(turn) < most:
            one = self._waiting.popleft()
            if one.version != version:
                others.append(one)
            elif one.answer.set_running_or_notify_cancel():
                turn.append(one)
        self._waiting.extendleft(reversed(others))
        return turn

    def _answer(self, turn: Sequence[_Waiting[V, Q, A]]) -> None:
        try:
            answers = self._work(turn[0].version, [one.question for one in turn])
            told = list(zip(turn, answers, strict=True))
        except Exception as error:  # noqa: BLE001  # as in any executor: it belongs to who asked
            if len(turn) == 1:
                turn[0].answer.set_exception(error)
                return
            for one in turn:
                self._answer([one])
            return
        for one, answer in told:
            one.answer.set_result(answer)
