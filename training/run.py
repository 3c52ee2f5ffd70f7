"""One training from start to end: rows and a parent go in, a judged artefact comes out.

fit -> export -> calibrate -> evaluate the parent and the candidate with the serving predictor -> gate -> seal -> rename.
A candidate that the gate rejects is written too: an operator may look at it, but nothing activates it by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.artefact import MANIFEST, TRAINING, Manifest, manifest_sha256, seal, verify
from inference.grams import GRAMS_FILE
from inference.predictor import Predictor, prepare
from inference.rules import Rule, RuleSet, read_rule_set
from schema.errors import ArtefactError, ConfigError, TrainingError
from schema.taxonomy import INTENTS, Intent
from training.assembly import Identity, calibrate_and_seal, close, write_rules
from training.base import BUILTIN, ENCODER
from training.corpus import MIN_VALIDATION, Row, Sides, distinct, seed_rows, split
from training.evaluate import answers, macro_f1, marks
from training.job import SMALL, TrainJob, TrainResult
from training.judgement import judge_folder
from training.keywords import gather, merge, proven, retire, rules_json
from training.progress import Progress
from training.replay import sample

Report = Callable[[Progress], None]
MAX_LENGTH: Final = 64
MAX_DRIFT: Final = 0.04
"""An increment that loses more macro-F1 than this on the validation rows has forgotten; everything is learned anew."""
_MODEL_FILES: Final = ("model.onnx", GRAMS_FILE, "tokenizer.json", "weights")


@dataclass(frozen=True, slots=True)
class _Parent:
    folder: Path
    manifest: Manifest


def train(job: TrainJob, report: Report = lambda _: None) -> TrainResult:
    """Run `job`; the artefact appears at ``job.out`` at once, or not at all.

    Raises:
        ConfigError: ``job.out`` exists.
        TrainingError: nothing to train on, or the model or its export went wrong.
        ArtefactError: the parent is not whole.
    """
    if job.out.exists():
        raise ConfigError(f"{job.out} exists already: give another --out, or remove it")
    report(Progress("prepare"))
    parent = _parent(job)
    rows = distinct([*seed_rows(), *job.replay, *job.rows])
    sides = split(rows)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".part-{job.version}-", dir=job.out.parent))
    try:
        mined, rules, revision = _rules(job, parent, sides, report)
        write_rules(scratch, rules, revision)
        if job.task == "fine_tune":
            told = _fine_tune(job, parent, sides, revision, scratch, report)
        else:
            told = _keep_model(job, parent, revision, scratch)
        report(Progress("gate"))
        verdict, metrics = judge_folder(
            scratch, parent.folder if parent else None, sides.held_out, threads=job.threads, golden=job.golden
        )
        metrics |= told | {"lineage": _lineage(parent), "rules": sum(rule.enabled for rule in rules), "rules_mined": len(mined)}
        wrong = _suspects(job, sides, report)
        # How long an answer took differs each time; the artefact must not.
        close(scratch, {name: value for name, value in metrics.items() if name != "milliseconds"}, rows)
        scratch.chmod(0o755)  # mkdtemp makes it private; replicas may run as another user
        os.rename(scratch, job.out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return TrainResult(
        outcome="completed" if verdict.passed else "rejected",
        version=job.version,
        manifest_sha256=manifest_sha256(job.out),
        reason="; ".join(verdict.reasons),
        rules=[rule for rule in rules if rule.source == "auto" or rule.retired_reason],
        metrics=metrics,
        suspects=wrong,
    )


def _suspects(job: TrainJob, sides: Sides, report: Report) -> list[dict[str, Any]]:
    """The labels that look wrong, of questions that people labelled here."""
    if not (job.rows or job.replay):
        return []
    from training.suspects import suspects  # here: scikit-learn and cleanlab take their time

    report(Progress("suspects"))
    asked = split(distinct([*job.replay, *job.rows]))
    return suspects([*sides.training, *sides.validation], [*asked.training, *asked.validation])


def _parent(job: TrainJob) -> _Parent | None:
    """The parent if it is an artefact; None for a Hugging Face model, which starts a first version."""
    folder = Path(job.parent)
    if (folder / MANIFEST).exists():
        return _Parent(folder, verify(folder, sha256=None, roles=TRAINING))
    if job.task != "fine_tune":
        raise ArtefactError(f"{job.parent} is not an artefact: rules can be mined for a version only")
    return None


def _lineage(parent: _Parent | None) -> list[str]:
    """The versions from the first one to the parent."""
    if parent is None:
        return []
    try:
        told = json.loads((parent.folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}  # an artefact from elsewhere
    return [*told.get("lineage", []), parent.manifest.version]


def _rules(job: TrainJob, parent: _Parent | None, sides: Sides, report: Report) -> tuple[list[Rule], list[Rule], int]:
    """The mined rules, all rules with those that are switched off, and their revision."""
    before = RuleSet(revision=0, rules=[])
    if parent:
        before = read_rule_set(parent.folder)
    known = list(before.rules if job.rules is None else job.rules)
    mined: list[Rule] = []
    rules = known
    if job.extract_keywords or job.task == "extract_keywords":
        report(Progress("keywords"))
        labelled = [*sides.training, *sides.validation]
        evidence = gather(labelled, [rule.keyword for rule in known], min_support=job.min_support)
        mined = proven(evidence, job.min_support, job.min_confidence)[: job.rule_limit]
        rules = retire(merge(known, mined), evidence)
    changed = rules_json(rules, 0) != rules_json(before.rules, 0)
    return mined, rules, before.revision + changed if job.rules_revision is None else job.rules_revision


def _identity(job: TrainJob, parent: _Parent | None, revision: int, *, full: bool) -> Identity:
    known = parent.manifest if parent else None
    return Identity(
        version=job.version,
        parent=known.version if known else None,
        base_model=base_name(_base(job, parent)) if known is None or full else known.base_model,
        created_at=job.created_at,
        labels=INTENTS if known is None or full else known.labels,
        max_length=known.max_length if known else MAX_LENGTH,
        rules_revision=revision,
    )


def _base(job: TrainJob, parent: _Parent | None) -> str:
    """Where a full training starts."""
    return job.base or (parent.manifest.base_model if parent else job.parent)


def base_name(base: str) -> str:
    """What manifests call the base `base`: a directory goes by its name."""
    return Path(base).name if Path(base).is_dir() else base


def _full_because(job: TrainJob, parent: _Parent | None) -> str:
    """Why everything must be learned anew; empty where an increment will do."""
    if parent is None:
        return "it is the first version"
    if parent.manifest.labels != INTENTS:
        return f"the intents changed: {parent.manifest.version} has {len(parent.manifest.labels)}, there are {len(INTENTS)} now"
    if job.base and base_name(job.base) != parent.manifest.base_model:
        return f"the base changed from {parent.manifest.base_model} to {base_name(job.base)}"
    return ""


def _fine_tune(
    job: TrainJob, parent: _Parent | None, sides: Sides, revision: int, scratch: Path, report: Report
) -> dict[str, Any]:
    """Train, export and calibrate into `scratch`; returns how many fresh and replayed rows trained, and what was full and why."""
    if parent and not split(distinct(job.rows)).training:
        raise TrainingError("no fresh question is on the training side: all are held out, validate, or there are none")
    why = _full_because(job, parent)
    told = _learn(job, parent, sides, revision, scratch, report, full=bool(why))
    if parent and not why and (drift := _drift(job, parent, sides.validation, scratch)):
        if not (job.base or parent.manifest.base_model == BUILTIN):
            return told | {"full": "", "drift": f"{drift}; no full retraining, as INTENTLOOP_BASE_MODEL is not set"}
        why = drift
        told = _learn(job, parent, sides, revision, scratch, report, full=True)
    return told | {"full": why}


def _learn(
    job: TrainJob, parent: _Parent | None, sides: Sides, revision: int, scratch: Path, report: Report, *, full: bool
) -> dict[str, Any]:
    identity = _identity(job, parent, revision, full=full)
    fresh = split(distinct(job.rows)).training
    if full:
        known = {row.question for row in fresh}
        replayed = [row for row in sides.training if row.question not in known]
        base = _base(job, parent)
        start = str(ENCODER) if base == BUILTIN else base
    else:
        assert parent is not None
        salt = f"{job.seed}:{identity.parent}"
        replayed = sample(sides.training, fresh, salt=salt, labels=identity.labels, large=_is_large(parent.folder))
        start = str(parent.folder)
    # Imported here, because torch takes seconds and mining rules does not need it.
    from training.increment import increment

    report(Progress("wide"))
    learn_wide(sides.training, identity.labels, scratch)
    losses = increment(start, fresh, replayed, sides.validation, identity, scratch, job=job, report=report)
    calibrate_and_seal(scratch, identity, sides.validation, threads=job.threads)
    return {"train_rows": len(fresh), "replay_rows": len(replayed), "loss": losses}


def _is_large(folder: Path) -> bool:
    """Whether the encoder of the artefact in `folder` is no small one."""
    config = json.loads((folder / "weights" / "config.json").read_text(encoding="utf-8"))
    return bool(config["hidden_size"] >= SMALL)


def learn_wide(rows: Sequence[Row], labels: Sequence[Intent], folder: Path) -> None:
    """Fit the wide half on `rows`, all that there are, and write it to `folder`."""
    from training.wide import fit_grams  # here: scikit-learn takes a second, and mining rules does not need it

    fit_grams([prepare(row.question) for row in rows], marks(rows, labels).astype(np.float32)).save(folder)


def _drift(job: TrainJob, parent: _Parent, validation: list[Row], scratch: Path) -> str:
    """How much worse than its parent the increment is on the validation rows; empty where it is not, or they are few."""
    if len(validation) < MIN_VALIDATION:
        return ""
    truth = marks(validation)
    before, after = (
        macro_f1(answers(Predictor.load(folder, threads=job.threads), validation).said, truth)
        for folder in (parent.folder, scratch)
    )
    if after >= before - MAX_DRIFT:
        return ""
    return f"the increment drifted: macro-F1 {before:.4f} -> {after:.4f} on {len(validation)} validation rows"


def _keep_model(job: TrainJob, parent: _Parent | None, revision: int, scratch: Path) -> dict[str, Any]:
    """Take the parent's model, thresholds and weights over; returns the numbers of rows that trained: none."""
    assert parent is not None
    for name in _MODEL_FILES:
        source = parent.folder / name
        if not source.exists():
            continue  # a version without a wide half
        if source.is_dir():
            shutil.copytree(source, scratch / name)
        else:
            shutil.copyfile(source, scratch / name)
    kept = {name: getattr(parent.manifest, name) for name in ("temperature", "thresholds", "wide_share")}
    seal(scratch, _identity(job, parent, revision, full=False).fields() | kept)
    return {"train_rows": 0, "replay_rows": 0, "full": ""}
