"""Sums over the questions that are kept, not counted per request: what they are called, and reading them.

| name | item | value |
| --- | --- | --- |
| ``questions`` | ``total``, ``labeled``, ``skipped``, ``unstated``, ``waiting`` | how many there are of each |
| ``labels`` | an intent | labelled questions whose label holds it |
| ``judged_by``, ``right_by`` | a method | labelled questions that were answered that way; those whose answer was correct |
| ``answered``, ``llm_calls``, ``timed``, ``milliseconds``, ``labeled``, ``correct`` | a version | of the questions it answered |

``unstated`` said nothing of consent, ``waiting`` may be labelled, ``timed`` have a response time, ``milliseconds`` is the sum
of those, ``correct`` were given the intents that people gave later. `streams.rollups` changes them in the transactions that
change the questions.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from sqlalchemy import Connection, select

from schema.tables import intent_rollups as rollups

Key = tuple[str, str]
"""A rollup's name and item."""

QUESTIONS: Final = "questions"
TOTAL: Final = (QUESTIONS, "total")
LABELED: Final = (QUESTIONS, "labeled")
SKIPPED: Final = (QUESTIONS, "skipped")
UNSTATED: Final = (QUESTIONS, "unstated")
WAITING: Final = (QUESTIONS, "waiting")
LABELS: Final = "labels"
JUDGED_BY: Final = "judged_by"
RIGHT_BY: Final = "right_by"
PER_VERSION: Final = ("answered", "llm_calls", "timed", "milliseconds", "labeled", "correct")


def read(connection: Connection) -> dict[Key, int]:
    """All rollups that are not 0; there are few: they grow with the versions, not with the questions."""
    chosen = select(rollups.c.name, rollups.c.item, rollups.c.value).where(rollups.c.value != 0)
    return {(name, item): value for name, item, value in connection.execute(chosen)}


def labels_by_intent(connection: Connection) -> Counter[str]:
    """How many labelled questions carry each intent."""
    return Counter({item: value for (name, item), value in read(connection).items() if name == LABELS})
