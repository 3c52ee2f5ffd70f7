"""A stream of labelled questions, 100 at a time: does each increment help, what does it forget, what does it cost?

``python -m bench.increments``. A first version learns 1,000 rows of the seed corpus; the others come in hundreds, each of four
intents alone, so that seven are lacking. After each hundred: ours (the new rows, replay, early stopping, the wide half on all
rows), and (b) naive fine-tuning on the hundred alone. At the end (a) a version from scratch on all rows so far. Scores are of
the held-out fifth, through the serving predictor. Times are the processor's, so that what else runs on the machine counts little.
The picture is in var/bench/increments.svg.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from bench.processes import ROOT
from bench.quality import finish, ours
from bench.servers import machine
from inference.grams import GRAMS_FILE
from inference.predictor import Predictor
from schema.taxonomy import INTENTS, Intent
from training.corpus import Row, seed_rows, split
from training.evaluate import Scores, answers, macro_f1, marks, score
from training.replay import sample
from training.run import learn_wide

HUNDRED = 100
INTENTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One hundred, and what was reached after it."""

    ours: Scores
    naive: Scores
    seconds: float
    drift: float
    lacking: list[Intent]


def hundreds(rows: Sequence[Row], number: int, chance: random.Random) -> Iterator[list[Row]]:
    """`number` times a hundred of `rows`, each of few intents alone, each row once."""
    left = list(rows)
    chance.shuffle(left)
    for turn in range(number):
        wanted = {INTENTS[(turn * INTENTS_AT_ONCE + i) % len(INTENTS)] for i in range(INTENTS_AT_ONCE)}
        taken = [row for row in left if wanted.issuperset(row.intents)][:HUNDRED]
        left = [row for row in left if row not in taken]
        yield taken


def one(
    parent: Path, fresh: Sequence[Row], known: Sequence[Row], validation: Sequence[Row], folder: Path, *, naive: bool
) -> None:
    """An increment from `parent`; a naive one sees nothing but `fresh`."""
    folder.mkdir()
    if naive:
        shutil.copyfile(parent / GRAMS_FILE, folder / GRAMS_FILE)
    else:
        learn_wide([*known, *fresh], INTENTS, folder)
    replayed = [] if naive else sample(known, fresh, salt=folder.name, labels=INTENTS)
    finish(str(parent), fresh, replayed, validation, folder)


def worst_loss(before: Scores, after: Scores, lacking: Sequence[Intent]) -> float:
    """The largest loss of F1, in points, of an intent that the hundred lacked."""
    return max(100 * (before.per_intent[intent].f1 - after.per_intent[intent].f1) for intent in lacking)


def draw(steps: Sequence[Step], first: Scores, scratch: Scores, path: Path) -> None:
    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    rows = [1000 + HUNDRED * n for n in range(len(steps) + 1)]
    axes.plot(rows, [first.macro_f1, *(step.ours.macro_f1 for step in steps)], marker="o", label="ours")
    axes.plot(rows, [first.macro_f1, *(step.naive.macro_f1 for step in steps)], marker="x", label="(b) the new 100 alone")
    axes.plot(rows[-1:], [scratch.macro_f1], marker="s", linestyle="", label="(a) from scratch")
    axes.set_xlabel("rows so far")
    axes.set_ylabel("held-out macro-F1")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    console = Console(width=120)
    sides = split(seed_rows())
    chance = random.Random(arguments.seed)
    rows = list(sides.training)
    chance.shuffle(rows)
    known, rest = rows[:1000], rows[1000:]
    truth = marks(sides.held_out)

    def validated(folder: Path) -> float:
        return macro_f1(answers(Predictor.load(folder, threads=2), sides.validation).said, marks(sides.validation))

    def scored(folder: Path) -> Scores:
        return score(answers(Predictor.load(folder, threads=2), sides.held_out).said, truth)

    with tempfile.TemporaryDirectory(prefix="ilb-") as scratch:
        folder = Path(scratch)
        (folder / "v0").mkdir()
        ours(known, sides.validation, folder / "v0")
        first = scored(folder / "v0")
        steps: list[Step] = []
        parent = naive_parent = folder / "v0"
        for number, fresh in enumerate(hundreds(rest, arguments.steps, chance), start=1):
            began = time.process_time()
            one(parent, fresh, known, sides.validation, folder / f"v{number}", naive=False)
            took = time.process_time() - began
            one(naive_parent, fresh, [], sides.validation, folder / f"n{number}", naive=True)
            drift = 100 * (validated(parent) - validated(folder / f"v{number}"))
            parent, naive_parent = folder / f"v{number}", folder / f"n{number}"
            known = [*known, *fresh]
            carried = {intent for row in fresh for intent in row.intents}
            steps.append(Step(scored(parent), scored(naive_parent), took, drift, [i for i in INTENTS if i not in carried]))
            console.print(
                f"{len(known)} rows: ours {steps[-1].ours.macro_f1:.4f}, naive {steps[-1].naive.macro_f1:.4f}, {took:.0f} CPU s"
            )
        (folder / "scratch").mkdir()
        began = time.process_time()
        ours(known, sides.validation, folder / "scratch")
        whole = time.process_time() - began
        from_scratch = scored(folder / "scratch")
    table = Table(title=f"From {first.macro_f1:.4f} with 1,000 rows; {machine()}", title_justify="left")
    for heading in ("rows", "ours", "(b) naive", "CPU s", "worst loss, ours", "worst loss, (b)", "lost on validation"):
        table.add_column(heading, justify="right")
    before = (first, first)
    for number, step in enumerate(steps, start=1):
        losses = [worst_loss(old, new, step.lacking) for old, new in zip(before, (step.ours, step.naive), strict=True)]
        figures = (f"{step.ours.macro_f1:.4f}", f"{step.naive.macro_f1:.4f}", f"{step.seconds:.0f}")
        table.add_row(str(1000 + HUNDRED * number), *figures, *(f"{loss:.1f}" for loss in (*losses, step.drift)))
        before = (step.ours, step.naive)
    console.print(table)
    console.print(f"(a) from scratch on {len(known)} rows: {from_scratch.macro_f1:.4f} in {whole:.0f} CPU s", highlight=False)
    draw(steps, first, from_scratch, ROOT / "var" / "bench" / "increments.svg")


if __name__ == "__main__":
    main()
