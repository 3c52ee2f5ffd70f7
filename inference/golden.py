"""Golden questions: what a version answered to a few questions where it was made, kept in its artefact.

Whoever loads it asks them again. A machine whose arithmetic is other than it should be, or a file that is whole and still the
wrong one, shows before any user gets an answer. int8 kernels differ a little between processors: hence a tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.predictor import Predictor
from schema.errors import ArtefactError

GOLDEN_FILE: Final = "golden.json"
TOLERANCE: Final = 0.1
"""How far a probability may lie from the recorded one."""


class Golden(BaseModel):
    """A question and the probabilities of all labels, in the model's order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    probabilities: list[float]


class GoldenSet(BaseModel):
    """The content of ``golden.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    golden: list[Golden]


def write_golden(folder: Path, predictor: Predictor, questions: Sequence[str]) -> None:
    """Record what `predictor` answers to `questions`."""
    rows = predictor.probabilities(questions)
    golden = [
        Golden(question=question, probabilities=[round(float(p), 4) for p in row])
        for question, row in zip(questions, rows, strict=True)
    ]
    (folder / GOLDEN_FILE).write_text(GoldenSet(golden=golden).model_dump_json(indent=1) + "\n", encoding="utf-8")


def check_golden(folder: Path, predictor: Predictor) -> None:
    """Ask the golden questions of the artefact in `folder`, if it has any.

    Raises:
        ArtefactError: an answer is not the recorded one; the message says to which question.
    """
    path = folder / GOLDEN_FILE
    if not path.exists():
        return
    try:
        golden = GoldenSet.model_validate_json(path.read_bytes()).golden
    except ValidationError as error:
        raise ArtefactError(f"{path} cannot be read: {error.errors()[0]['msg']}") from error
    rows = predictor.probabilities([one.question for one in golden])
    for one, row in zip(golden, rows, strict=True):
        recorded = np.array(one.probabilities, dtype=np.float32)
        if recorded.shape != row.shape:
            raise ArtefactError(f"the golden questions of {folder} were asked of a model with {recorded.size} labels")
        worst = int(np.argmax(np.abs(recorded - row)))
        if not abs(float(recorded[worst] - row[worst])) <= TOLERANCE:
            label = predictor.labels[worst]
            here, there = float(row[worst]), float(recorded[worst])
            raise ArtefactError(f"golden question {one.question!r}: {label} has {here:.2f} here, {there:.2f} where it was made")
