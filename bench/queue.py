"""How many labels it takes: the mixed queue against a random one. ``python -m bench.queue``.

People label 50 questions at a time, chosen from the seed corpus's training side, whose labels are known. After each page the
wide half is fitted on all labels so far (the encoder would take hours for the same comparison), its answers choose the next
page, and it is scored on the held-out fifth. Several draws; medians of the labels needed to reach each score.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from api.mixing import Candidate, mix
from api.queue import POOL_PAGES
from bench.servers import machine
from inference.predictor import decide, prepare, sigmoid
from schema.taxonomy import INTENTS
from training.calibrate import DEFAULT_BAR
from training.corpus import Row, seed_rows, split
from training.evaluate import macro_f1, marks
from training.wide import fit_grams

PAGE = 50
BARS = np.full(len(INTENTS), DEFAULT_BAR, dtype=np.float32)

Said = NDArray[np.float32]
Choose = Callable[[list[int], Sequence[Row], Said, Counter[str], random.Random], list[int]]


def at_random(waiting: list[int], rows: Sequence[Row], said: Said, labels: Counter[str], chance: random.Random) -> list[int]:
    return chance.sample(waiting, min(PAGE, len(waiting)))


def mixed(waiting: list[int], rows: Sequence[Row], said: Said, labels: Counter[str], chance: random.Random) -> list[int]:
    unsure = sorted(waiting, key=lambda i: float(said[i].max()))[: POOL_PAGES * PAGE]
    found = {i: Candidate(i, rows[i].question, tuple(decide(said[i], INTENTS, BARS))) for i in waiting}
    drawn = chance.sample(waiting, min(PAGE, len(waiting)))
    return mix([found[i] for i in unsure], [found[i] for i in drawn], labels, PAGE)


def uncertain(waiting: list[int], rows: Sequence[Row], said: Said, labels: Counter[str], chance: random.Random) -> list[int]:
    return sorted(waiting, key=lambda i: float(said[i].max()))[:PAGE]


def curve(choose: Choose, rows: Sequence[Row], held_out: Sequence[Row], most: int, seed: int) -> dict[int, float]:
    """Held-out macro-F1 by number of labels."""
    chance = random.Random(seed)
    labelled = chance.sample(range(len(rows)), 2 * PAGE)
    truth, texts, asked = marks(held_out), *([prepare(row.question) for row in some] for some in (rows, held_out))
    reached = {}
    while len(labelled) <= most:
        known = [rows[i] for i in labelled]
        grams = fit_grams([texts[i] for i in labelled], marks(known).astype(np.float32))
        answers = [decide(sigmoid(grams.logits(text)), INTENTS, BARS) for text in asked]
        reached[len(labelled)] = macro_f1(np.array([[i in a for i in INTENTS] for a in answers]), truth)
        said = np.stack([sigmoid(grams.logits(text)) for text in texts])
        taken = set(labelled)
        waiting = [i for i in range(len(rows)) if i not in taken]
        labelled += choose(waiting, rows, said, Counter(intent for row in known for intent in row.intents), chance)
    return reached


def needed(reached: dict[int, float], score: float) -> float:
    """The labels at which `score` is reached for good; infinity where it is not."""
    below = [number for number, found in reached.items() if found < score]
    after = [number for number in reached if not below or number > max(below)]
    return min(after, default=float("inf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--most", type=int, default=1200, help="labels")
    arguments = parser.parse_args()
    sides = split(seed_rows())
    strategies: dict[str, Choose] = {"random": at_random, "uncertain": uncertain, "mixed": mixed}
    curves = {
        name: [curve(choose, sides.training, sides.held_out, arguments.most, seed) for seed in range(arguments.draws)]
        for name, choose in strategies.items()
    }
    table = Table(title=f"Labels needed, medians of {arguments.draws} draws; {machine()}", title_justify="left")
    for heading in ("macro-F1", *strategies, "mixed / random"):
        table.add_column(heading, justify="right")
    for score in (0.50, 0.55, 0.60, 0.65, 0.70):
        numbers = {name: statistics.median(needed(one, score) for one in found) for name, found in curves.items()}
        table.add_row(f"{score:.2f}", *(f"{n:.0f}" for n in numbers.values()), f"{numbers['mixed'] / numbers['random']:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
