"""When enough labelled questions are there, make a batch and ask for its training: once."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine, select

from schema.batches import count_open, is_open, make_batch, request_run
from schema.database import hold_lock, in_transaction
from schema.envelope import Envelope
from schema.events import LabelApplied
from schema.rollups import labels_by_intent
from schema.settings import Settings
from schema.tables import intent_user_questions as questions
from schema.tracing import trace_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fire:
    """Train now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: how many labels are missing, and which intents are below the floor, by how many."""

    missing: int
    below_floor: dict[str, int]


def decide(open_questions: int, open_intents: set[str], examples: Counter[str], *, threshold: int, floor: int) -> Fire | Wait:
    """The policy. Pure.

    Args:
        open_questions: distinct labelled, consented, unused questions.
        open_intents: the intents that those questions carry: what would be trained.
        examples: labelled questions per intent, used ones too.
        threshold: open questions that start a training.
        floor: examples that each of `open_intents` needs.
    """
    below = {intent: floor - examples[intent] for intent in sorted(open_intents) if examples[intent] < floor}
    missing = max(0, threshold - open_questions)
    return Wait(missing, below) if missing or below else Fire()


def consider(connection: Connection, settings: Settings, traceparent: str | None = None) -> str | None:
    """Look at the labels under the lock, and make a batch where the policy says so; returns its id.

    `traceparent` is that of the label that called for the look: the batch continues its trace.
    """
    hold_lock(connection, "trigger")
    waiting = count_open(connection)
    if waiting < settings.train_threshold:
        return None
    open_intents = {
        i for intents in connection.execute(select(questions.c.correct_intent).where(is_open())).scalars() for i in intents
    }
    examples = labels_by_intent(connection)
    verdict = decide(waiting, open_intents, examples, threshold=settings.train_threshold, floor=settings.intent_floor)
    if isinstance(verdict, Wait):
        log.info("%d labelled questions wait; intents below the floor: %s", waiting, verdict.below_floor)
        return None
    description = f"{waiting} newly labelled questions"
    batch = make_batch(connection, task="fine_tune", trigger="threshold", description=description, traceparent=traceparent)
    request_run(connection, batch.batch_id)
    fields = {"trace_id": trace_id(traceparent)}
    log.info("batch %s holds %d questions", batch.batch_id, batch.question_count, extra=fields)
    return batch.batch_id


class Trigger:
    """Handles `label.applied`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def handle(self, applied: Envelope[LabelApplied]) -> None:
        """Consider a training; a repeat of the event finds the questions taken and does nothing."""
        in_transaction(self._engine, partial(consider, settings=self._settings, traceparent=applied.traceparent))
