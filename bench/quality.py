"""How good the built-in model is for its rows: against TF-IDF of characters with logistic regression, on the same rows.

``python -m bench.quality``. With 100, 300, 1,000 and all rows of the seed corpus's training side both are fitted, calibrated
on the same validation rows by the same threshold rule, and scored on the held-out fifth. Ours takes the whole way of a first
version: wide half, encoder from the built-in base, export to int8, calibration, the serving predictor.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from bench.servers import machine
from inference.artefact import read_manifest, seal
from inference.predictor import Predictor, decide, prepare
from schema.taxonomy import INTENTS
from training.assembly import Identity, calibrate_and_seal, write_rules
from training.base import BUILTIN, ENCODER, V0
from training.calibrate import thresholds
from training.corpus import Row, seed_rows, split
from training.evaluate import answers, macro_f1, marks
from training.increment import increment
from training.job import TrainJob
from training.run import learn_wide

SIZES = (100, 300, 1000, 0)


def baseline(rows: Sequence[Row], validation: Sequence[Row], held_out: Sequence[Row]) -> float:
    """Macro-F1 of character 1-3-gram TF-IDF with logistic regression."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    features = vectorizer.fit_transform([prepare(row.question) for row in rows])
    model = OneVsRestClassifier(LogisticRegression(C=30, max_iter=3000, class_weight="balanced"))
    model.fit(features, marks(rows).astype(int))

    def probabilities(some: Sequence[Row]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        found = model.predict_proba(vectorizer.transform([prepare(row.question) for row in some]))
        return np.asarray(found, dtype=np.float32)

    chosen = thresholds(probabilities(validation), marks(validation).astype(np.float32), INTENTS)
    bars = np.array([chosen[intent] for intent in INTENTS], dtype=np.float32)
    decided = [decide(row, INTENTS, bars) for row in probabilities(held_out)]
    return macro_f1(np.array([[i in d for i in INTENTS] for d in decided]), marks(held_out))


def ours(rows: Sequence[Row], validation: Sequence[Row], folder: Path) -> None:
    """Make an artefact from `rows` alone in `folder`, an empty one."""
    learn_wide(rows, INTENTS, folder)
    finish(str(ENCODER), rows, [], validation, folder)


def finish(start: str, fresh: Sequence[Row], replayed: Sequence[Row], validation: Sequence[Row], folder: Path) -> None:
    """Train the encoder from `start`, and make an artefact with the wide half that is in `folder`."""
    identity = Identity("bench", None, BUILTIN, datetime(2026, 1, 1, tzinfo=UTC), INTENTS, 64, 0)
    write_rules(folder, [], 0)
    job = TrainJob(rows=fresh, parent=start, out=folder, version="bench")
    increment(start, fresh, replayed, validation, identity, folder, job=job, report=lambda _: None)
    calibrate_and_seal(folder, identity, validation, threads=2)


def halves(folder: Path, validation: Sequence[Row], held_out: Sequence[Row]) -> list[float]:
    """Macro-F1 of the encoder alone and of the wide half alone, each calibrated by itself, and of both as they are."""
    manifest = read_manifest(folder)
    scores = []
    for share in (0.0, 1.0):
        fields = manifest.model_dump(exclude={"files"}) | {"wide_share": share}
        seal(folder, fields)
        wanted = marks(validation).astype(np.float32)
        probabilities = Predictor.load(folder, threads=2).probabilities([row.question for row in validation])
        seal(folder, fields | {"thresholds": thresholds(probabilities, wanted, INTENTS)})
        scores.append(macro_f1(answers(Predictor.load(folder, threads=2), held_out).said, marks(held_out)))
    seal(folder, manifest.model_dump(exclude={"files"}))
    return [*scores, macro_f1(answers(Predictor.load(folder, threads=2), held_out).said, marks(held_out))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="draws of the rows; their median is shown")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of rows; 0: all, which v0 learned already")
    arguments = parser.parse_args()
    console = Console()
    sides = split(seed_rows())
    table = Table("rows", "TF-IDF + LR", "encoder alone", "wide half alone", "both", "seconds", title="held-out macro-F1")
    for size in arguments.sizes:
        found = []
        for seed in range(arguments.seeds if size else 1):
            rows = list(sides.training)
            random.Random(seed).shuffle(rows)
            rows = rows[:size] if size else rows
            validation = sides.validation[: max(10, size // 9)] if size else sides.validation
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "v"
                if size:
                    folder.mkdir()
                    ours(rows, validation, folder)
                else:
                    shutil.copytree(V0, folder)
                took = time.monotonic() - began
                found.append([baseline(rows, validation, sides.held_out), *halves(folder, validation, sides.held_out), took])
            console.print(f"{size or len(rows)} rows, draw {seed}: " + "  ".join(f"{score:.3f}" for score in found[-1]))
        middle = [statistics.median(column) for column in zip(*found, strict=True)]
        table.add_row(str(size or len(rows)), *(f"{score:.3f}" for score in middle[:-1]), f"{middle[-1]:.0f}" if size else "")
    console.print(table)
    console.print(f"{len(sides.held_out)} held-out rows, {arguments.seeds} draws; {machine()}")


if __name__ == "__main__":
    main()
