"""The torch part of one training: from a parent's weights, or from a base, to an exported model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from inference.artefact import MANIFEST
from schema.errors import TrainingError
from training.assembly import Identity
from training.corpus import Row
from training.export import export_model
from training.finetune import Recipe, fit, load_model, load_tokenizer, make_deterministic
from training.job import SMALL, TrainJob
from training.progress import Progress

PARITY_ROWS: Final = 32
FULL_ROWS: Final = 48_000
"""Rows that a full training looks at, each epoch's counted: few rows are gone over oftener, within these bounds."""
FULL_EPOCHS: Final = (8, 40)


def recipe(hidden: int, rows: int, *, full: bool, seed: int) -> Recipe:
    """How long and how fast to train, by the size of the model and of the data.

    A full training has a new head and everything to learn; an increment has little to add, and much to lose.
    """
    if not full:
        if hidden < SMALL:
            return Recipe(epochs=3, learning_rate=2e-4, seed=seed)
        return Recipe(epochs=2, learning_rate=3e-5, batch=16, seed=seed)  # 32 rows of a base-sized model hold 4.5 GB
    low, high = FULL_EPOCHS
    epochs = min(high, max(low, round(FULL_ROWS / rows)))
    return Recipe(epochs=epochs, learning_rate=5e-4 if hidden < SMALL else 6e-5, batch=32 if rows >= 500 else 16, seed=seed)


def increment(
    start: str,
    fresh: Sequence[Row],
    replayed: Sequence[Row],
    validation: Sequence[Row],
    identity: Identity,
    folder: Path,
    *,
    job: TrainJob,
    report: Callable[[Progress], None],
) -> list[tuple[int, float]]:
    """Train from `start` on `fresh` and `replayed` rows, and export to `folder`; returns steps and their losses.

    Args:
        start: an artefact's folder, or a Hugging Face directory or hub name.
        fresh: rows that are new to the model.
        replayed: rows that it knows.
        validation: rows that choose the best epoch, and on which the export is compared with torch.
        identity: labels and length of the new version.
        folder: gets model.onnx, tokenizer.json and weights/.
        job: seed, threads and the folder for checkpoints.
        report: hears of every few steps.

    Raises:
        TrainingError: the start cannot be loaded, the loss is not finite, or the export answers differently.
    """
    rows = [*fresh, *replayed]
    if not rows:
        raise TrainingError("there is nothing to train on")
    is_artefact = (Path(start) / MANIFEST).exists()
    source = str(Path(start) / "weights") if is_artefact else start
    make_deterministic(job.seed, job.threads)
    model = load_model(source, identity.labels)
    how = recipe(model.config.hidden_size, len(rows), full=not is_artefact, seed=job.seed)
    tokenizer = Tokenizer.from_file(str(Path(start) / "tokenizer.json")) if is_artefact else load_tokenizer(start)
    losses = fit(
        model,
        tokenizer,
        rows,
        identity.labels,
        how,
        max_length=identity.max_length,
        report=report,
        validation=validation,
        checkpoints=job.checkpoints,
    )
    report(Progress("export"))
    asked = [row.question for row in (*validation, *rows)][:PARITY_ROWS]
    export_model(model, tokenizer, folder, max_length=identity.max_length, parity=asked)
    return losses
