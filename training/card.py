"""The model card: what a version is, what it was made from, how good it is. Markdown with the fields that Hugging Face reads."""

from __future__ import annotations

from typing import Any

from inference.artefact import Manifest
from schema.taxonomy import TAXONOMY


def model_card(manifest: Manifest, metrics: dict[str, Any]) -> str:
    """The README.md of an artefact.

    Args:
        manifest: its manifest.
        metrics: what metrics.json holds: row counts, scores of the serving version and of this one, the gate's verdict.
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
        f"- temperature {manifest.temperature}, up to {manifest.max_length} tokens of a question",
        "",
        "## On the held-out questions",
        "",
        "| | this version |" + (" the one before |" if serving else ""),
        "| --- | --- |" + (" --- |" if serving else ""),
    ]
    lines += [
        f"| {name} | {candidate[name]:.4f} |" + (f" {serving[name]:.4f} |" if serving else "")
        for name in ("macro_f1", "micro_f1", "accuracy")
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
    return "\n".join(lines) + "\n"
