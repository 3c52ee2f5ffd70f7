"""The torch part of one training: from a parent's weights to an exported model."""

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
from training.job import TrainJob
from training.progress import Progress

PARITY_ROWS: Final = 32
SMALL: Final = 512
"""A model whose hidden states are narrower than this is small, and bears a higher learning rate."""


def recipe(hidden: int, *, first: bool, seed: int) -> Recipe:
    """How long and how fast to train.

    A first version has a new head and everything to learn; an increment has little to add, and much to lose.
    """
    rate = 2e-4 if hidden < SMALL else 3e-5
    return Recipe(epochs=8 if first else 3, learning_rate=rate * (2 if first else 1), seed=seed)


def increment(
    start: str,
    fresh: Sequence[Row],
    replayed: Sequence[Row],
    parity: Sequence[Row],
    identity: Identity,
    folder: Path,
    *,
    job: TrainJob,
    report: Callable[[Progress], None],
) -> None:
    """Train from `start` on `fresh` and `replayed` rows, and export to `folder`.

    Args:
        start: an artefact's folder, or a Hugging Face directory or hub name.
        fresh: rows that are new to the model.
        replayed: rows that it knows.
        parity: questions on which the export is compared with torch.
        identity: labels and length of the new version.
        folder: gets model.onnx, tokenizer.json and weights/.
        job: seed and threads.
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
    how = recipe(model.config.hidden_size, first=not is_artefact, seed=job.seed)
    tokenizer = Tokenizer.from_file(str(Path(start) / "tokenizer.json")) if is_artefact else load_tokenizer(start)
    fit(model, tokenizer, rows, identity.labels, how, max_length=identity.max_length, report=report)
    report(Progress("export"))
    asked = [row.question for row in (*parity, *rows)][:PARITY_ROWS]
    export_model(model, tokenizer, folder, max_length=identity.max_length, parity=asked)
