"""The guard: while a candidate stands beside the serving version, compare them, and end the candidate if it does harm.

What the versions answer and how fast is told by the replicas on ``replica.status``; what is right, by the labels in the
database. Each look writes the comparison, which the API shows. A guardrail that broke rolls the candidate back by the same
way as a person would, with the figure as the reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from prometheus_client import Counter
from sqlalchemy import Connection, Engine, Row, select, update

from consumers.comparison import Pairs, add, breaches, compare
from schema.activations import Rollout, roll_back, rollout_at
from schema.database import in_transaction
from schema.envelope import Envelope
from schema.errors import Conflict, TransientError
from schema.events import AnswerFigures, ReplicaStatus
from schema.follower import Follower
from schema.settings import Settings
from schema.tables import intent_rollout_comparisons as comparisons
from schema.tables import intent_shadow_answers as shadows
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import REPLICA_STATUS

log = logging.getLogger(__name__)
ROLLED_BACK = Counter("intentloop_guard_rollbacks", "candidates that the guard ended")
LOOK_SECONDS: Final = 2.0
SEEN_WITHIN: Final = timedelta(seconds=30)
AT_ONCE: Final = 500
BY: Final = "guard"


class Guard:
    """Runs in a thread of the trainer process. Several may run: each decision names the candidate that it is about."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.stopping = threading.Event()
        self._engine = engine
        self._settings = settings
        self._lock = threading.Lock()
        self._statuses: dict[str, ReplicaStatus] = {}
        self._follower = Follower(settings, REPLICA_STATUS, ReplicaStatus, self.hear)

    def run(self) -> None:
        """Look until `stopping` is set."""
        self._follower.start()
        try:
            while not self.stopping.wait(LOOK_SECONDS):
                try:
                    self.look()
                except TransientError as away:
                    log.warning("the candidate was not looked at: %s", away)
        finally:
            self._follower.stop()

    def hear(self, envelope: Envelope[ReplicaStatus]) -> None:
        """Take a replica's report."""
        with self._lock:
            self._statuses[envelope.data.replica_id] = envelope.data

    def look(self) -> None:
        """Compare once; roll back if a guardrail broke.

        Raises:
            TransientError: the database is away.
        """
        now = in_transaction(self._engine, rollout_at)
        if now.serving is None or now.candidate is None:
            return
        serving, candidate = self._figures(now)
        if serving is None or candidate is None:
            return
        pairs = in_transaction(self._engine, partial(labelled_pairs, rollout=now))
        decided, told = compare(serving, candidate, pairs)
        broken = breaches(serving, candidate, pairs, self._settings)
        told |= {"guardrails": broken}
        in_transaction(self._engine, partial(_save, generation=now.candidate.id, verdict=decided, told=told))
        if broken:
            in_transaction(self._engine, partial(self._end, candidate=now.candidate, broken=broken))

    def _figures(self, rollout: Rollout) -> tuple[AnswerFigures | None, AnswerFigures | None]:
        """Of both versions, from the live replicas that have loaded both."""
        assert rollout.serving is not None
        assert rollout.candidate is not None
        with self._lock:
            statuses = list(self._statuses.values())
        both = [
            status.figures
            for status in statuses
            if status.state != "stopped"
            and datetime.now(UTC) - status.reported_at <= SEEN_WITHIN
            and status.candidate is not None
            and (status.candidate.generation, status.candidate.state) == (rollout.candidate.id, "loaded")
        ]
        every = [one for figures in both for one in figures]
        return (
            add(one for one in every if one.generation == rollout.serving.id),
            add(one for one in every if one.generation == rollout.candidate.id),
        )

    def _end(self, connection: Connection, candidate: Row[Any], broken: Sequence[str]) -> None:
        reason = f"{candidate.version}: {'; '.join(broken)}"[:500]
        try:
            ended = roll_back(connection, by=BY, reason=reason, generation=candidate.id)
        except Conflict as error:
            log.warning("the candidate is not ended: %s", error)
            return
        if ended.changed:
            ROLLED_BACK.inc()
            log.error("rolled back: %s", reason)


def labelled_pairs(connection: Connection, rollout: Rollout) -> Pairs:
    """The questions since the candidate came that have a label and an answer of both versions."""
    assert rollout.serving is not None
    assert rollout.candidate is not None
    names = (rollout.serving.version, rollout.candidate.version)
    first = select(comparisons.c.first_question_id).where(comparisons.c.generation == rollout.candidate.id)
    chosen = select(questions.c.text_hash, questions.c.model_version, questions.c.intents, questions.c.correct_intent).where(
        questions.c.is_labeled, questions.c.id >= first.scalar_subquery(), questions.c.model_version.in_(names)
    )
    labelled = connection.execute(chosen).all()
    would = _would_have_said(connection, names, {row.text_hash for row in labelled})
    number = dict.fromkeys(((True, True), (True, False), (False, True), (False, False)), 0)
    for row in labelled:
        other = names[1] if row.model_version == names[0] else names[0]
        scored = would.get((row.text_hash, other))
        if scored is None or row.correct_intent is None:
            continue
        right = {row.model_version: set(row.intents) == set(row.correct_intent), other: scored == set(row.correct_intent)}
        number[right[names[1]], right[names[0]]] += 1
    return Pairs(number[True, True], number[True, False], number[False, True], number[False, False])


def _would_have_said(
    connection: Connection, names: tuple[str, str], hashes: Iterable[bytes]
) -> dict[tuple[bytes, str], set[str]]:
    every = sorted(hashes)
    found: dict[tuple[bytes, str], set[str]] = {}
    for begin in range(0, len(every), AT_ONCE):
        chosen = select(shadows.c.text_hash, shadows.c.version, shadows.c.intents).where(
            shadows.c.version.in_(names), shadows.c.text_hash.in_(every[begin : begin + AT_ONCE])
        )
        found |= {(row.text_hash, row.version): set(row.intents) for row in connection.execute(chosen)}
    return found


def _save(connection: Connection, generation: int, verdict: str, told: dict[str, Any]) -> None:
    row = {"verdict": verdict, "comparison": told, "compared_at": utc_now()}
    connection.execute(update(comparisons).where(comparisons.c.generation == generation).values(row))
