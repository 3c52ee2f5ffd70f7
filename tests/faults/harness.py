"""The test bed of a fault scenario: workers behind proxies, load and labels, and the check that all of it is exact.

Scenarios read as a story: start a worker, send 20,000 events, wait for a fault to strike, kill, start another, `verify`.
They wait for events and for other processes' states, never for time to pass.
"""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import Connection, Engine, func, select, text

from schema.producer import client_config
from schema.settings import Settings
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import QUESTION_ASKED, Topic
from tests.faults.check import Check, counted, live_view
from tests.faults.group import READ, Group
from tests.faults.load import LARGEST, Labeler, Load
from tests.faults.poison import REFUSED_MARK
from tests.faults.proxy import Away
from tests.faults.traffic import RULES, Traffic
from tests.faults.worker import Worker
from tests.running import wait_until

EVENTS: Final = 20_000
LABELS: Final = 300
SETTLE_SECONDS: Final = 90.0


class Bed:
    """A fresh system with load and labels.

    Args:
        settings: of migrated topics and tables; its database is reached without a proxy.
        engine: on that database.
        traffic: the questions.
        restarts: whether workers that end by themselves are replaced, as a supervisor does; else that is a failure.
        events, labels: how many are sent at least before `verify` compares.

    Attributes:
        workers: those that should be running.
        ended: workers that ended by themselves.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        *,
        traffic: Traffic,
        restarts: bool = False,
        events: int = EVENTS,
        labels: int = LABELS,
    ) -> None:
        self.settings = settings
        self.restarts = restarts
        self.workers: list[Worker] = []
        self.ended: list[Worker] = []
        self.load = Load(settings, traffic)
        self.labeler = Labeler(settings, engine, seed=3, want=labels)
        self.check = Check(settings, engine, traffic.expected, self.labeler.poison)
        self.group = Group(settings)
        self._engine = engine
        self._events, self._labels = events, labels
        self._gone: list[Worker] = []
        self._away: Away | None = None
        _allow_large_values(settings)
        with engine.begin() as connection:
            _prepare(connection)
        self.labeler.start()

    def worker(self, **changes: object) -> Worker:
        """Start a worker, with `changes` to the settings; does not wait for it."""
        started = Worker(self.settings.model_copy(update=changes))
        self.workers.append(started)
        if self._away is not None:
            started.proxy.down(self._away)
        return started

    def kill_9(self, worker: Worker, *, alone: bool = False) -> None:
        """kill -9 of `worker`, of all its processes or of its main one alone."""
        self._let_go(worker)
        if alone:
            worker.kill_alone()
        else:
            worker.kill()

    def terminate(self, worker: Worker, seconds: float = 20.0) -> int:
        """SIGTERM; returns the exit status.

        Raises:
            subprocess.TimeoutExpired: it has not ended within `seconds`.
        """
        self._let_go(worker)
        return worker.end(seconds)

    def ends_by_itself(self, worker: Worker, seconds: float) -> int:
        """Wait for the end of a worker that should give up; returns its exit status."""
        self._let_go(worker)
        wait_until(lambda: worker.child.poll() is not None, "the worker gives up", seconds)
        return int(worker.child.returncode)

    def database_down(self, how: Away = "refused") -> None:
        """The database is away for every worker, and for those started from now on."""
        self._away = how
        for worker in self.workers:
            worker.proxy.down(how)

    def database_up(self) -> None:
        """It is there again."""
        self._away = None
        for worker in (*self.workers, *self._gone):
            worker.proxy.up()

    def tend(self) -> None:
        """Look after the workers: one that ended by itself is replaced, or fails the test."""
        for worker in list(self.workers):
            code = worker.child.poll()
            if code is not None:
                self._let_go(worker)
                self.ended.append(worker)
                assert self.restarts, f"a worker ended with {code}:\n{worker.tail()}"
                self.worker()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        """Wait until `condition` holds, tending the workers."""

        def holds() -> object:
            self.tend()
            return condition()

        wait_until(holds, what, seconds)

    def reached(self, event: threading.Event, what: str, seconds: float = 30.0) -> None:
        """Wait for a fault's `reached`."""
        self.until(event.is_set, what, seconds)

    def stored(self) -> int:
        """How many questions are in the database."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(questions)).scalar_one()

    def newest(self) -> datetime:
        """When a worker made the newest row."""
        newest = select(questions.c.created_at).order_by(questions.c.id.desc()).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(newest).scalar() or datetime.min

    def last_question(self) -> int:
        """The newest question that may be labelled; the labeler, who begins with the oldest, has not come to it."""
        newest = select(func.max(questions.c.id)).where(questions.c.consent_training)
        with self._engine.connect() as connection:
            return int(connection.execute(newest).scalar_one())

    def flows_since(self, moment: datetime, seconds: float) -> float:
        """Wait until a row was made after `moment`; returns the seconds from `moment` until it was seen."""
        began = time.monotonic() - (utc_now() - moment).total_seconds()
        try:
            self.until(lambda: self.newest() > moment, f"events flow again after {moment:%H:%M:%S} UTC", seconds)
        except AssertionError as error:
            tails = "\n".join(worker.tail() for worker in self.workers)
            raise AssertionError(f"{error}; the workers say:\n{tails}") from None
        return time.monotonic() - began

    def acknowledged(self, seconds: float = SETTLE_SECONDS, topics: Sequence[Topic] = READ) -> None:
        """Wait until the workers have acknowledged every record that is in `topics` now."""
        ends = self.group.ends(topics)
        try:
            self.until(lambda: self.group.lag(ends) == 0, "every record is acknowledged", seconds)
        except AssertionError as error:
            tails = "\n".join(worker.tail() for worker in self.workers)
            left = {part: (end, self.group.committed().get(part)) for part, end in ends.items()}
            left = {part: pair for part, pair in left.items() if pair[0] != pair[1]}
            raise AssertionError(f"{error}; {self.stored()} are stored, left (end, committed): {left}\n{tails}") from None

    def differences(self, urls: Sequence[str] = (), seconds: float = SETTLE_SECONDS) -> list[str]:
        """End load and labels, wait until all is done, and compare everything; empty where all is exact.

        Args:
            urls: where to see the live views of workers that the bed did not start.
        """
        self.load.finish(self._events)
        self.until(lambda: self.stored() >= 2 * self._labels, "there is enough to label", seconds)
        self.labeler.finish()
        self.acknowledged(seconds)
        views = [*urls, *(worker.url for worker in self.workers)]
        for url in views:
            self._await_view(url)
        self.check = Check(self.settings, self._engine, self.load.traffic.expected, self.labeler.poison)
        return self.check.run(views)

    def lost(self) -> list[str]:
        """What is acknowledged and not stored; call it while no worker runs."""
        check = Check(self.settings, self._engine, self.load.traffic.expected, self.labeler.poison)
        return check.run_acknowledged(self.group.committed())

    def verify(self, urls: Sequence[str] = (), seconds: float = SETTLE_SECONDS) -> None:
        """Fail with every difference."""
        found = self.differences(urls, seconds)
        assert not found, "\n".join(found)

    def close(self) -> None:
        """End everything."""
        self.load.close()
        self.labeler.close()
        with ExitStack() as every:  # one that does not end is a failure, and no reason to leave the others running
            for worker in (*self.workers, *self._gone):
                worker.release()
                every.push(worker)
            self.group.close()

    def _let_go(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self._gone.append(worker)

    def _await_view(self, url: str) -> None:
        """The view follows its topic by itself: give it a moment; `Check` says how it differs."""

        def equal() -> bool:
            try:
                with self._engine.connect() as connection:
                    return live_view(url) == counted(connection)
            except urllib.error.URLError:
                return False

        try:
            wait_until(equal, "the live view follows", 10)
        except AssertionError:
            return


def _allow_large_values(settings: Settings) -> None:
    """Let the question topic take values that nobody should send."""
    name = QUESTION_ASKED.name(settings.topic_prefix)
    entry = ConfigEntry("max.message.bytes", str(LARGEST), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient(client_config(settings))  # named: its futures fail when it is collected
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(20)


def _prepare(connection: Connection) -> None:
    """The rules that the questions name, and a constraint that refuses a marked question, as nothing else here would."""
    row = {"confidence_boost": 0.2, "source": "manual", "created_at": utc_now(), "updated_at": utc_now()}
    connection.execute(rules.insert(), [row | {"keyword": word, "intent": intent} for word, intent in RULES])
    check = f"CHECK (question NOT LIKE '%{REFUSED_MARK}%')"
    connection.execute(text(f"ALTER TABLE {questions.name} ADD CONSTRAINT refused_by_test {check}"))
