"""The model card: what a version is, what it was made from, how good it is. Markdown with the fields that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from inference.artefact import Manifest
from schema.taxonomy import TAXONOMY
from schema.text import text_hash
from training.corpus import seed_rows

EXAMPLES: Final = 20


def model_card(manifest: Manifest, metrics: dict[str, Any], pictures: Sequence[str]) -> str:
    """The README.md of an artefact.

    Args:
        manifest: its manifest.
        metrics: what metrics.json holds: row counts, scores of the serving version and of this one, the gate's verdict.
        pictures: files of the artefact to show.
    """
    candidate, serving, gate = metrics["candidate"], metrics.get("serving"), metrics.get("gate")
    lines = [
        "---",
        "language: zh",
        "pipeline_tag: text-classification",
        f"base_model: {manifest.base_model}",
        "---",
        f"# intentloop {manifest.version}",
        "",
        "Which intents a Chinese question to a fortune-telling service carries: multi-label, one calibrated probability each.",
        "",
        f"- parent: {manifest.parent or 'none'}; base model: {manifest.base_model};"
        f" keyword rules: revision {manifest.rules_revision}",
        f"- trained on {metrics['train_rows']} labelled questions and {metrics['replay_rows']} replayed ones,"
        f" judged on {metrics['held_out_rows']} held-out ones that never train",
        f"- temperature {manifest.temperature}, wide share {manifest.wide_share}, up to {manifest.max_length} tokens",
        f"- lineage: {' -> '.join([manifest.base_model, *metrics.get('lineage', ()), manifest.version])}",
        *([f"- everything was learned anew: {metrics['full']}"] if metrics.get("full") else ()),
        f"- a replica downloads {metrics['size'] / 1e6:.1f} MB",
        "",
        "## On the held-out questions",
        "",
        "| | this version |" + (" the one before |" if serving else ""),
        "| --- | --- |" + (" --- |" if serving else ""),
    ]
    lines += [
        f"| {name} | {candidate[name]:.4f} |" + (f" {serving[name]:.4f} |" if serving else "")
        for name in ("macro_f1", "micro_f1", "accuracy", "calibration_error")
    ]
    lines += ["", "| intent | | threshold | precision | recall | F1 | rows |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for intent in manifest.labels:
        one = candidate["per_intent"][intent]
        lines.append(
            f"| {intent} | {TAXONOMY[intent].chinese} | {manifest.thresholds[intent]:.2f} | {one['precision']:.3f} |"
            f" {one['recall']:.3f} | {one['f1']:.3f} | {one['support']} |"
        )
    if gate:
        lines += [
            "",
            f"## Gate: {'passed' if gate['passed'] else 'rejected'}",
            "",
            *(f"- {reason}" for reason in gate["reasons"]),
        ]
    lines += _rules(metrics["rules_alone"])
    lines += _changed(metrics.get("changed", ()))
    lines += ["", *(f"![{Path(picture).stem}]({picture})" for picture in pictures)] if pictures else []
    return "\n".join(lines) + "\n"


def _rules(told: dict[str, Any]) -> list[str]:
    """What the rules answer without the model, before and now."""
    words = [
        f"- {when}: {one['rules']} rules answer {one['answered']:.1%} of the held-out questions alone,"
        f" {one['right']:.1%} of those right"
        for when, one in (("this version", told["candidate"]), ("the one before", told["serving"]))
        if one
    ]
    return ["", "## Keyword rules", "", *words]


def _changed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The answers that changed, of questions that everyone may read: a user's words belong into the database alone."""
    if not rows:
        return []
    public = {text_hash(row.question).hex(): row.question for row in seed_rows()}
    became = sum(row["right"] for row in rows)
    head = f"{became} held-out answers became right, {len(rows) - became} became wrong."
    shown = [row for row in rows if row["text_hash"] in public][:EXAMPLES]
    table = [
        f"| {public[row['text_hash']]} | {', '.join(row['before'])} | {', '.join(row['after'])} | {', '.join(row['intents'])} |"
        for row in shown
    ]
    headings = ["| question | before | now | label |", "| --- | --- | --- | --- |"]
    return ["", "## Answers that changed", "", head, "", *headings, *table]
