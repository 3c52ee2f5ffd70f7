"""What stands between a question and a paid call: the circuit, the day's budget, and the answers that are known already.

Plain classes for one event loop; clock and calendar are given to them. Each keeps its state in this process alone: two
replicas have two budgets, and a restart begins a new one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from typing import Final, Generic, Literal, TypeVar

from schema.errors import TransientError
from schema.text import normalise

Outcome = Literal["timeout", "refused", "budget", "busy", "error", "outside_schema"]
LONGEST_PAUSE: Final = 300.0
"""Seconds that an endpoint may send us away for at most, so that a wrong Retry-After does not do so for a day."""


class LlmFailed(TransientError):
    """The LLM gave no answer. The message is one line that may stand in an answer's reasoning.

    Attributes:
        outcome: why, as the metrics name it.
    """

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Circuit:
    """Stops calls to an endpoint that keeps failing: closed, open for a while, then one probe that decides.

    Each call carries the era in which it was let through. What a call says of an earlier era is ignored: a slow call from
    before the circuit opened neither closes it nor keeps it open.

    Args:
        failures: so many in a row open it.
        seconds: how long it stays open before the probe.
        clock: seconds that only grow.
    """

    def __init__(self, *, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._failed = 0
        self._until: float | None = None
        self._probing = False
        self._era = 0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, all but a probe."""
        return self._until is not None

    def check(self) -> None:
        """Do nothing if a call would be let through.

        Raises:
            LlmFailed: ``refused``.
        """
        if self._until is None:
            return
        left = self._until - self._clock()
        if left > 0:
            raise LlmFailed("refused", f"the LLM is not asked for {left:.0f} s more: its last calls failed")
        if self._probing:
            raise LlmFailed("refused", "the LLM is not asked until one call has shown that it is well again")

    def enter(self) -> int:
        """Let a call through, in an open circuit as its probe; returns the era. Raises as `check`."""
        self.check()
        self._probing = self.is_open
        return self._era

    def succeeded(self, era: int) -> None:
        """The endpoint answered that call."""
        if era == self._era:
            self._failed = 0
            if self.is_open:
                self._turn(None)

    def failed(self, era: int, pause: float = 0.0) -> None:
        """The endpoint failed that call. `pause`: the seconds it asked to be left alone for, if longer than a call may take."""
        if era != self._era:
            return
        self._failed += 1
        if self.is_open or pause > 0 or self._failed >= self._most:
            self._turn(self._clock() + max(self._seconds, min(pause, LONGEST_PAUSE)))

    def leave(self, era: int) -> None:
        """That call is over. If it said nothing of the endpoint, the next one may probe."""
        if era == self._era:
            self._probing = False

    def _turn(self, until: float | None) -> None:
        self._until = until
        self._failed = 0
        self._probing = False
        self._era += 1


class Budget:
    """What may be spent in a day of Asia/Shanghai by this process, since its start.

    Calls are counted before they are sent. What they cost is known afterwards, so that the calls under way when the money
    is used up may still go beyond it.

    Args:
        calls: requests in a day, retries too; 0: any number.
        cost: money in a day, in the currency of the prices; 0: any amount.
        today: the day that it is.
    """

    def __init__(self, *, calls: int, cost: float, today: Callable[[], date]) -> None:
        self._most_calls = calls
        self._most_cost = cost
        self._today = today
        self._day = today()
        self._calls = 0
        self._cost = 0.0

    def check(self) -> None:
        """Do nothing if a call may be paid for.

        Raises:
            LlmFailed: ``budget``.
        """
        if (day := self._today()) != self._day:
            self._day, self._calls, self._cost = day, 0, 0.0
        if self._most_calls and self._calls >= self._most_calls:
            raise LlmFailed("budget", f"the LLM is not asked: the {self._most_calls} calls of {self._day} are used up")
        if self._most_cost and self._cost >= self._most_cost:
            raise LlmFailed("budget", f"the LLM is not asked: the budget of {self._most_cost:g} for {self._day} is used up")

    def take(self) -> None:
        """Count a call that is about to be sent. Raises as `check`."""
        self.check()
        self._calls += 1

    def spend(self, cost: float) -> None:
        """Count what a call cost."""
        self._cost += cost


V = TypeVar("V")


class Known(Generic[V]):
    """The answers used last, each for a while from when it was given.

    Args:
        size: so many are kept; 0: none.
        seconds: how long each holds.
        clock: seconds that only grow.
    """

    def __init__(self, *, size: int, seconds: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> V | None:
        """The answer for `key`; None where there is none, or none that still holds."""
        if (found := self._kept.get(key)) is None:
            return None
        until, value = found
        if self._clock() >= until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, key: bytes, value: V) -> None:
        """Keep `value`; where there is no room, the one not used for longest goes."""
        self._kept[key] = (self._clock() + self._seconds, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


def digest(text: str) -> bytes:
    """16 bytes that stand for `text` exactly as it is. No text is kept as a key: it is a user's."""
    return hashlib.sha256(text.encode()).digest()[:16]


def same_question(masked: str) -> bytes:
    """16 bytes that are equal for questions with the same intents: the digest of the normalised text.

    Numbers count as equal, since a year does not change what is asked. A text of signs alone, which normalises to nothing,
    stands for itself.
    """
    return digest(normalise(masked) or masked)
