"""Which earlier questions a training goes over again, so that what is new does not drive out what was known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from schema.taxonomy import Intent
from schema.text import text_hash
from training.corpus import Row

PER_FRESH_ROW: Final = 4
MIN_ROWS: Final = 400
LARGE: Final = 2
"""A large model goes over this many times fewer rows: each costs it a hundred times more."""


def sample(pool: Sequence[Row], fresh: Sequence[Row], *, salt: str, labels: Sequence[Intent], large: bool = False) -> list[Row]:
    """Rows of `pool` to train on beside `fresh`: four for each fresh one, at least 400, evenly over the intents.

    Intents take turns, each giving its next row in an order that hangs on `salt` and the texts alone. An intent that the
    fresh rows lack is therefore as present as any other. Copies of fresh rows are left out: the newest label holds.

    Args:
        pool: distinct rows of the training side.
        fresh: the new rows.
        salt: changes the draw, for instance from version to version.
        labels: the intents that take turns.
        large: the model is no small one: half as many.
    """
    known = {text_hash(row.question) for row in fresh}
    shuffled = sorted(
        (row for row in pool if text_hash(row.question) not in known),
        key=lambda row: hashlib.sha256(salt.encode() + text_hash(row.question)).digest(),
    )
    size = max(MIN_ROWS, PER_FRESH_ROW * len(fresh)) // (LARGE if large else 1)
    if size >= len(shuffled):
        return shuffled
    queues = {label: [row for row in reversed(shuffled) if label in row.intents] for label in labels}
    taken: dict[str, Row] = {}
    while len(taken) < size and any(queues.values()):
        for label in labels:
            while queues[label] and queues[label][-1].question in taken:
                queues[label].pop()
            if queues[label] and len(taken) < size:
                row = queues[label].pop()
                taken[row.question] = row
    return list(taken.values())
