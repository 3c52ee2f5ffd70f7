"""Two versions side by side, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from schema.taxonomy import INTENTS
from schema.text import text_hash
from training.corpus import Row

EXAMPLES: Final = 20


def show(first: str, second: str, rows: Sequence[Row], metrics: Mapping[str, Any]) -> None:
    """Print what `training.judgement.judge_folder` found of `first` (before) and `second` on `rows`."""
    console = Console()
    before, after = metrics["serving"], metrics["candidate"]
    scores = Table(title=f"{len(rows)} questions", title_justify="left")
    for heading in ("", first, second, "difference"):
        scores.add_column(heading, justify="left" if not heading else "right")
    named = {name: (before[name], after[name]) for name in ("macro_f1", "micro_f1", "accuracy", "calibration_error")}
    named |= {intent: (before["per_intent"][intent]["f1"], after["per_intent"][intent]["f1"]) for intent in INTENTS}
    for name, (old, new) in named.items():
        scores.add_row(name, f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}")
    console.print(scores)
    texts = {text_hash(row.question).hex(): row.question for row in rows}
    changed = Table(title=f"{len(metrics['changed'])} answers changed sides", title_justify="left")
    for heading in ("question", "label", first, second):
        changed.add_column(heading)
    for row in metrics["changed"][:EXAMPLES]:
        changed.add_row(texts[row["text_hash"]], *(", ".join(row[name]) for name in ("intents", "before", "after")))
    console.print(changed)
    gate = metrics["gate"]
    console.print(f"gate: {'passed' if gate['passed'] else 'rejected'}: {'; '.join(gate['reasons'])}", highlight=False)
