"""The faults a proxy can be told to make, each at one kind of statement. `reached` says that it has struck."""

from __future__ import annotations

import threading

from tests.faults.proxy import Line
from tests.faults.wire import OK, Command, refusal

QUESTIONS = "intent_user_questions"
HISTORY = "intent_label_history"
COUNTS = "intent_keyword_counts"
RULES = "intent_keyword_rules"


class Fault:
    """Waits for a statement, lets the first `after` of them pass, and strikes the next `times`.

    Args:
        verb: of the statement.
        table: that it writes; for COMMIT, that its transaction has written.
    """

    def __init__(self, verb: str, table: str, *, after: int = 0, times: int = 1) -> None:
        self.reached = threading.Event()
        self.struck = 0
        self._verb, self._table, self._after, self._times = verb, table, after, times
        self._freed = threading.Event()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._verb}, {self._table}: {self.struck} of {self._times})"

    def takes(self, command: Command, written: set[str]) -> bool:
        """Whether `command` is the one. The proxy calls it for every command, one at a time."""
        if command.verb != self._verb or self.struck == self._times:
            return False
        if self._table not in (written if command.verb == "COMMIT" else {command.table}):
            return False
        if self._after:
            self._after -= 1
            return False
        self.struck += 1
        return True

    def release(self) -> None:
        """Let go what is held."""
        self._freed.set()

    def strike(self, line: Line, command: Command) -> None:
        """Do it, in the thread that reads the client's commands."""
        raise NotImplementedError

    def _hold(self) -> None:
        self.reached.set()
        self._freed.wait()


class HoldCommit(Fault):
    """Rows are written, COMMIT has not reached the database."""

    def __init__(self, table: str = QUESTIONS, *, after: int = 0) -> None:
        super().__init__("COMMIT", table, after=after)

    def strike(self, line: Line, command: Command) -> None:
        self._hold()
        line.forward(command)  # raises where the line was dropped meanwhile: then the database rolls back


class HoldAnswer(Fault):
    """The database has committed, the worker does not know it yet."""

    def __init__(self, table: str = QUESTIONS, *, after: int = 0) -> None:
        super().__init__("COMMIT", table, after=after)

    def strike(self, line: Line, command: Command) -> None:
        answer = line.ask(command.raw)
        assert answer[4] == OK, "the database refused the COMMIT"
        self._hold()
        line.reply(answer)


class ResetAfterCommit(Fault):
    """The database has committed; the worker gets a reset in place of the answer (error 2013)."""

    def __init__(self, table: str = QUESTIONS, *, after: int = 0, times: int = 1) -> None:
        super().__init__("COMMIT", table, after=after, times=times)

    def strike(self, line: Line, command: Command) -> None:
        answer = line.ask(command.raw)
        assert answer[4] == OK, "the database refused the COMMIT"
        line.reset()
        self.reached.set()


class Refuse(Fault):
    """The statement is answered by error `number`; the database never sees it.

    As InnoDB does it: a deadlock (1213) rolls the whole transaction back, a lock wait timeout (1205) only the statement.
    """

    def __init__(self, number: int, verb: str, table: str, *, after: int = 0, times: int = 1) -> None:
        super().__init__(verb, table, after=after, times=times)
        self._number = number

    def strike(self, line: Line, command: Command) -> None:
        if self._number == 1213:
            line.roll_back()
        line.reply(refusal(command.sequence, self._number))
        if self.struck == self._times:
            self.reached.set()


class RefuseText(Refuse):
    """Every statement of this kind that holds `text` is answered by error `number`, for ever."""

    def __init__(self, number: int, verb: str, table: str, text: str) -> None:
        super().__init__(number, verb, table, times=10**9)
        self._text = text.encode()

    def takes(self, command: Command, written: set[str]) -> bool:
        """See `Fault`."""
        return self._text in command.raw and super().takes(command, written)

    def strike(self, line: Line, command: Command) -> None:
        super().strike(line, command)
        self.reached.set()


class Delay(Fault):
    """The statement reaches the database `seconds` late."""

    def __init__(self, seconds: float, verb: str, table: str, *, after: int = 0, times: int = 1) -> None:
        super().__init__(verb, table, after=after, times=times)
        self._seconds = seconds

    def strike(self, line: Line, command: Command) -> None:
        self.reached.set()
        line.proxy.stopping.wait(self._seconds)
        line.forward(command)
