"""What of a question's label history holds: the labels that nobody took back, the last one being the question's label.

`intent_label_history` is append-only. A row with ``takes_back`` is an undo: ``last`` takes back the last label of its labeler
that holds, ``all`` takes back every label.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, select

from schema.tables import intent_label_history as history

Label = dict[str, Any]
"""The columns `LABEL` of a row, and ``event_id``."""
LABEL: Final = ("correct_intent", "correct_time_intent", "labeler_id", "labeled_at")


def holding(connection: Connection, question_ids: Collection[int]) -> dict[int, list[Label]]:
    """The labels of each question that hold, in the order in which they were applied."""
    found: dict[int, list[Label]] = {number: [] for number in question_ids}
    names = ("question_id", "event_id", "takes_back", *LABEL)
    chosen = select(*(history.c[name] for name in names)).where(history.c.question_id.in_(sorted(question_ids)))
    for row in connection.execute(chosen.order_by(history.c.id)).mappings():
        labels = found[row["question_id"]]
        if row["takes_back"] is None:
            labels.append({name: row[name] for name in ("event_id", *LABEL)})
        else:
            take_back(labels, row["takes_back"], row["labeler_id"])
    return found


def take_back(labels: list[Label], which: str, labeler_id: str) -> None:
    """Do to `labels`, which hold, what an undo does."""
    if which == "all":
        labels.clear()
        return
    for place in range(len(labels) - 1, -1, -1):
        if labels[place]["labeler_id"] == labeler_id:
            del labels[place]
            return
