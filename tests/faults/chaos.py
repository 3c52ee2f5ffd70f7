"""Random faults under constant load, then the check: ``python -m tests.faults.chaos --minutes 20 --seed 1``.

Prints the history with times; the seed decides which fault comes when and what is sent. How far the processes are at that
moment is their own affair, so a seed repeats the script, not the run. Exits 1 on any difference.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from local.children import last_line
from local.kafka import EmbeddedKafka
from local.mariadb import EmbeddedMariaDB
from schema.database import open_engine
from schema.migrate import create_database, migrate_database, migrate_topics
from schema.settings import Settings
from schema.tables import utc_now
from tests.faults.harness import Bed
from tests.faults.points import COUNTS, HISTORY, QUESTIONS, Fault, HoldAnswer, HoldCommit, Refuse, ResetAfterCommit
from tests.faults.proxy import Away
from tests.faults.traffic import Traffic
from tests.faults.worker import Worker
from tests.running import wait_until

RATE: Final = 1000.0
WORKERS: Final = 2
PATIENCE: Final = 5.0
RECOVERY_SECONDS: Final = 60.0
REACH_SECONDS: Final = 20.0
SETTLE_SECONDS: Final = 180.0


@dataclass(slots=True)
class Chaos:
    """What a fault acts on."""

    bed: Bed
    kafka: EmbeddedKafka
    chance: random.Random
    say: Callable[[str], None]

    def victim(self) -> Worker:
        """A worker by chance."""
        return self.chance.choice(self.bed.workers)

    def keep(self, seconds: float, what: str) -> None:
        """Leave the fault on for `seconds`."""
        until = time.monotonic() + seconds
        self.say(f"{what} for {seconds:.1f} s")
        self.bed.until(lambda: time.monotonic() > until, what, seconds + 10)

    def caught(self, worker: Worker, fault: Fault) -> bool:
        """Plan `fault` before `worker`'s database and wait until it strikes; False where its statement does not come."""
        worker.proxy.plan(fault)
        try:
            self.bed.until(lambda: fault.reached.is_set() or worker not in self.bed.workers, "", REACH_SECONDS)
        except AssertionError:
            self.say("  its statement did not come")
        if not fault.reached.is_set():
            worker.proxy.forgive()
        return fault.reached.is_set() and worker in self.bed.workers


def kill_anywhere(chaos: Chaos) -> None:
    """kill -9 of a worker, at whatever it does."""
    chaos.bed.kill_9(chaos.victim())
    chaos.bed.worker()


def kill_before_commit(chaos: Chaos) -> None:
    """kill -9 of a worker between rows and COMMIT."""
    worker = chaos.victim()
    if chaos.caught(worker, HoldCommit(chaos.chance.choice((QUESTIONS, HISTORY)))):
        chaos.bed.kill_9(worker)
        chaos.bed.worker()


def kill_after_commit(chaos: Chaos) -> None:
    """kill -9 of a worker between COMMIT and ack."""
    worker = chaos.victim()
    if chaos.caught(worker, HoldAnswer(chaos.chance.choice((QUESTIONS, HISTORY)))):
        chaos.bed.kill_9(worker)
        chaos.bed.worker()


def rolling_restart(chaos: Chaos) -> None:
    """SIGTERM to a worker, and a new one."""
    worker = chaos.victim()
    ready = worker.is_ready()
    code = chaos.bed.terminate(worker)
    assert code == 0 or not ready, f"SIGTERM ended a worker with {code}: {worker.tail()}"
    chaos.bed.worker()


def scale_up_and_down(chaos: Chaos) -> None:
    """A third worker comes, and one of the three goes."""
    third = chaos.bed.worker()
    chaos.bed.until(third.is_ready, "the third worker has its partitions", RECOVERY_SECONDS)
    chaos.bed.terminate(chaos.victim())


def zombie(chaos: Chaos) -> None:
    """SIGSTOP of a worker for longer than its session, in the middle of a transaction or anywhere, then SIGCONT."""
    worker = chaos.victim()
    point = chaos.chance.choice((HoldCommit, HoldAnswer, None))
    held = point() if point else None
    if held is None or chaos.caught(worker, held):
        worker.freeze()
        chaos.keep(chaos.bed.settings.session_timeout + chaos.chance.uniform(1, 4), "  frozen")
        if held is not None:
            held.release()
        worker.thaw()


def _away(chaos: Chaos, how: Away, seconds: float) -> None:
    chaos.bed.database_down(how)
    try:
        chaos.keep(seconds, f"  {how}")
    finally:
        chaos.bed.database_up()


def database_down(chaos: Chaos) -> None:
    """The database refuses connections for a while."""
    _away(chaos, "refused", chaos.chance.uniform(1, 0.8 * PATIENCE))


def database_down_too_long(chaos: Chaos) -> None:
    """The database refuses connections for longer than the workers wait: they end, and are replaced."""
    _away(chaos, "refused", PATIENCE + chaos.chance.uniform(3, 6))


def database_silent(chaos: Chaos) -> None:
    """The database answers nobody for a while."""
    _away(chaos, "silent", chaos.chance.uniform(1, 6))


def sigterm_without_database(chaos: Chaos) -> None:
    """SIGTERM to a worker whose database is away; it must end within 20 s."""
    worker = chaos.victim()
    worker.proxy.down()
    chaos.say(f"  it ended with {chaos.bed.terminate(worker, 20)}")
    chaos.bed.worker()


def reset_after_commit(chaos: Chaos) -> None:
    """Connections are reset after COMMIT was sent."""
    chaos.caught(chaos.victim(), ResetAfterCommit(chaos.chance.choice((QUESTIONS, HISTORY)), times=chaos.chance.randint(1, 4)))


def locks(chaos: Chaos) -> None:
    """Deadlocks or lock wait timeouts."""
    number, table = chaos.chance.choice((1213, 1205)), chaos.chance.choice((QUESTIONS, COUNTS, HISTORY))
    chaos.caught(chaos.victim(), Refuse(number, "INSERT", table, times=chaos.chance.randint(1, 8)))


def broker_restart(chaos: Chaos) -> None:
    """The broker ends and starts again."""
    chaos.kafka.stop()
    chaos.kafka.start()


def replay(chaos: Chaos) -> None:
    """All workers end; the last 2,000 records of each partition are read again."""
    for worker in list(chaos.bed.workers):
        chaos.bed.terminate(worker)
    lost = chaos.bed.lost()
    assert not lost, "\n".join(lost)
    wait_until(lambda: chaos.bed.group.rewind(2000), "the group is set back", 60)
    for _ in range(WORKERS):
        chaos.bed.worker()


FAULTS: Final[tuple[Callable[[Chaos], None], ...]] = (
    kill_anywhere,
    kill_before_commit,
    kill_after_commit,
    rolling_restart,
    scale_up_and_down,
    zombie,
    database_down,
    database_down_too_long,
    database_silent,
    sigterm_without_database,
    reset_after_commit,
    locks,
    broker_restart,
    replay,
)


def script(chance: random.Random) -> Iterator[Callable[[Chaos], None]]:
    """Every fault once in a random order, then all again in another."""
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))


def torment(chaos: Chaos, minutes: float) -> None:
    """One fault after another until `minutes` are over; after each, events must flow again.

    Raises:
        AssertionError: they did not, or a worker did what it must not.
    """
    until = time.monotonic() + 60 * minutes
    ended = 0
    for fault in script(chaos.chance):
        if time.monotonic() > until:
            return
        chaos.say((fault.__doc__ or "").strip())
        fault(chaos)
        took = chaos.bed.flows_since(utc_now(), RECOVERY_SECONDS)
        for worker in chaos.bed.ended[ended:]:
            code = worker.child.returncode
            why = worker.tail() if code < 0 else last_line(worker.log)  # a signal of nobody's: all that is known
            chaos.say(f"  a worker ended by itself with {code} and was replaced: {why}")
        ended = len(chaos.bed.ended)
        chaos.say(f"  events flow after {took:.1f} s; {chaos.bed.load.sent:,} sent, {chaos.bed.stored():,} stored")


def run(minutes: float, seed: int, rate: float, folder: Path, say: Callable[[str], None]) -> list[str]:
    """The whole run on servers of its own in `folder`; returns the differences."""
    with EmbeddedKafka(folder) as kafka, EmbeddedMariaDB(folder) as database:
        url = database.url("chaos")
        create_database(url)
        settings = Settings(
            kafka=kafka.bootstrap,
            database_url=SecretStr(url),
            pseudonym_key=SecretStr("a key for tests only"),
            topic_prefix="chaos.",
            var=folder / "var",
            session_timeout=6.0,
            database_patience=PATIENCE,
        )
        settings.var.mkdir()
        migrate_topics(settings)
        engine = open_engine(url)
        migrate_database(engine)
        bed = Bed(settings, engine, traffic=Traffic(seed), restarts=True)
        chaos = Chaos(bed, kafka, random.Random(seed), say)
        try:
            for _ in range(WORKERS):
                bed.worker()
            bed.load.start(rate)
            bed.until(lambda: bed.stored() > rate, "events flow", 60)
            say(f"{WORKERS} workers store {rate:.0f} events/s")
            torment(chaos, minutes)
            say("the faults are over; waiting until every record is acknowledged")
            found = bed.differences(seconds=SETTLE_SECONDS)
            say(", ".join(f"{name}: {number:,}" for name, number in bed.check.figures.items()))
            return found
        finally:
            bed.close()
            engine.dispose()


def main() -> int:
    """Run by the command line's arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="events a second; fewer where several runs share a machine")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what was started here ends with it
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)

    say(f"seed {given.seed}, {given.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        try:
            found = run(given.minutes, given.seed, given.rate, Path(folder), say)
        except AssertionError as error:
            found = [str(error)]
    for difference in found:
        say(f"DIFFERENCE: {difference}")
    say(f"seed {given.seed}: " + (f"{len(found)} differences" if found else "everything is exact"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
