"""What a training is asked for, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from inference.rules import Rule
from training.corpus import Row
from training.keywords import LIMIT, MIN_CONFIDENCE, MIN_SUPPORT

_RULE: Final = {"keyword", "intent", "confidence_boost", "support", "success", "source", "enabled", "retired_reason"}


SMALL: Final = 512
"""A model whose hidden states are narrower than this is small: it bears a higher learning rate, and more rows."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What to train.

    Attributes:
        rows: fresh labelled rows; held-out ones are taken out and used to judge.
        parent: an artefact's folder, or a Hugging Face BERT (directory or hub name) to start a first version from.
        base: where a full retraining starts: ``builtin``, or a Hugging Face BERT; empty: the parent's base. Another one than
            the parent's asks for a full retraining.
        out: the folder that the new artefact becomes; must not exist.
        version: its name.
        replay: rows that earlier versions trained on.
        rules: the keyword rules that are in force; None takes the parent's.
        rules_revision: of the new rules; None counts on from the parent's.
        checkpoints: a folder that outlives this process: an interrupted training goes on from there.
        golden: questions that must be answered right; None takes those of `training.judgement`.
        task: ``extract_keywords`` leaves the model as it is and makes new rules only.
    """

    rows: Sequence[Row]
    parent: str
    out: Path
    version: str
    replay: Sequence[Row] = ()
    rules: Sequence[Rule] | None = None
    rules_revision: int | None = None
    extract_keywords: bool = True
    base: str = ""
    checkpoints: Path | None = None
    golden: Sequence[Row] | None = None
    task: Literal["fine_tune", "extract_keywords"] = "fine_tune"
    min_support: int = MIN_SUPPORT
    min_confidence: float = MIN_CONFIDENCE
    rule_limit: int = LIMIT
    seed: int = 13
    threads: int = 2
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came out. `metrics` is the content of metrics.json; `rules` those that were mined, retired or flagged, `suspects`
    labels that look wrong (`training.suspects`)."""

    outcome: Literal["completed", "rejected"]
    version: str
    manifest_sha256: str
    reason: str
    rules: list[Rule]
    metrics: dict[str, Any]
    suspects: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The object that ``intentloop train`` prints under ``result``."""
        return {
            "outcome": self.outcome,
            "version": self.version,
            "manifest_sha256": self.manifest_sha256,
            "reason": self.reason,
            "rules_extracted": self.metrics["rules_mined"],
            "rules": [r.model_dump(include=_RULE) for r in self.rules],
            "metrics": self.metrics,
            "suspects": self.suspects,
        }
