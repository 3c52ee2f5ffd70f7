"""A trained model and all that belongs to it become one artefact folder, in two steps around the judgement.

`calibrate_and_seal` writes everything that decides answers, so that the result can be judged as it will be served.
`close` then adds what was found out (metrics, model card) and seals for good.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference.artefact import Manifest, read_manifest, seal
from inference.golden import write_golden
from inference.grams import GRAMS_FILE
from inference.predictor import Predictor, sigmoid, together
from inference.rules import KeywordRules, Rule
from schema.taxonomy import Intent
from training.calibrate import DEFAULT_BAR, DEFAULT_SHARE, temperature, thresholds, wide_share
from training.card import model_card
from training.corpus import Row, read_rows
from training.evaluate import marks
from training.judgement import GOLDEN_QUESTIONS
from training.keywords import dictionary, rules_json
from training.plots import draw
from training.rule_report import RULES_REPORT, rule_report


@dataclass(frozen=True, slots=True)
class Identity:
    """What the manifest of a new artefact says of it, apart from what is measured."""

    version: str
    parent: str | None
    base_model: str
    created_at: datetime
    labels: tuple[Intent, ...]
    max_length: int
    rules_revision: int

    def fields(self) -> dict[str, Any]:
        """The manifest's fields, with thresholds and temperature that change nothing."""
        return {
            "version": self.version,
            "parent": self.parent,
            "base_model": self.base_model,
            "created_at": self.created_at,
            "labels": self.labels,
            "max_length": self.max_length,
            "rules_revision": self.rules_revision,
            "temperature": 1.0,
            "thresholds": dict.fromkeys(self.labels, DEFAULT_BAR),
        }


def write_rules(folder: Path, rules: Sequence[Rule], revision: int) -> None:
    """Write rules.json and dictionary.txt."""
    (folder / "rules.json").write_text(rules_json(rules, revision), encoding="utf-8")
    (folder / "dictionary.txt").write_text(dictionary(rules), encoding="utf-8")


def calibrate_and_seal(folder: Path, identity: Identity, validation: Sequence[Row], *, threads: int) -> Manifest:
    """Choose wide share, temperature and thresholds for the exported model in `folder` on `validation`, and seal it.

    The logits are the served model's (law 6). Without validation rows it stays at temperature 1, bars of 0.5 and half of each.

    Raises:
        ArtefactError: the exported model does not load.
    """
    fields = identity.fields()
    has_grams = GRAMS_FILE in seal(folder, fields).files
    fields["wide_share"] = DEFAULT_SHARE if has_grams else 0.0
    if validation:
        deep, wide = Predictor.load(folder, threads=threads).halves([row.question for row in validation])
        wanted = marks(validation, identity.labels).astype(np.float32)
        if has_grams:
            fields["wide_share"] = wide_share(deep, wide, wanted)
        logits = together(deep, wide, fields["wide_share"])
        fields["temperature"] = temperature(logits, wanted)
        fields["thresholds"] = thresholds(sigmoid(logits / fields["temperature"]), wanted, identity.labels)
    return seal(folder, fields)


def close(folder: Path, metrics: dict[str, Any], rows: Sequence[Row]) -> Manifest:
    """Add metrics.json, golden.json, the report on the rules over `rows` and the model card; seal it for good."""
    manifest = read_manifest(folder)
    write_golden(folder, Predictor.load(folder, threads=1), [row.question for row in read_rows(GOLDEN_QUESTIONS)])
    report = folder / RULES_REPORT
    report.parent.mkdir()
    told = rule_report(KeywordRules.load(folder), rows)
    report.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    pictures = draw(folder, metrics)
    (folder / "README.md").write_text(model_card(manifest, metrics, pictures), encoding="utf-8")
    return seal(folder, manifest.model_dump(exclude={"files"}))
