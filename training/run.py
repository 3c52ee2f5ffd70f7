"""One training from start to end: rows and a parent go in, a judged artefact comes out.

fit -> export -> calibrate -> evaluate the parent and the candidate with the serving predictor -> gate -> seal -> rename.
A candidate that the gate rejects is written too: an operator may look at it, but nothing activates it by itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.artefact import MANIFEST, TRAINING, Manifest, manifest_sha256, seal, verify
from inference.predictor import Predictor
from inference.rules import KeywordRules, Rule, RuleSet, read_rule_set
from schema.errors import ArtefactError, ConfigError, TrainingError
from schema.taxonomy import INTENTS
from training.assembly import Identity, calibrate_and_seal, close, write_rules
from training.corpus import Row, Sides, distinct, seed_rows, split
from training.evaluate import Marks, answers, marks, score
from training.gate import Sanity, Verdict, judge
from training.job import TrainJob, TrainResult
from training.keywords import merge, mine
from training.progress import Progress
from training.replay import sample

Report = Callable[[Progress], None]
MAX_LENGTH: Final = 64
_MODEL_FILES: Final = ("model.onnx", "tokenizer.json", "weights")


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
            fresh, replayed = _fine_tune(job, parent, sides, revision, scratch, report)
        else:
            fresh, replayed = _keep_model(job, parent, revision, scratch), 0
        verdict, metrics = _judge(job, parent, sides.held_out, scratch, report)
        metrics |= {"train_rows": fresh, "replay_rows": replayed, "rules": len(rules), "gate": verdict.as_json()}
        close(scratch, metrics)
        scratch.chmod(0o755)  # mkdtemp makes it private; replicas may run as another user
        os.rename(scratch, job.out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return TrainResult(
        outcome="completed" if verdict.passed else "rejected",
        version=job.version,
        manifest_sha256=manifest_sha256(job.out),
        reason="; ".join(verdict.reasons),
        rules=mined,
        metrics=metrics,
    )


def _parent(job: TrainJob) -> _Parent | None:
    """The parent if it is an artefact; None for a Hugging Face model, which starts a first version."""
    folder = Path(job.parent)
    if (folder / MANIFEST).exists():
        return _Parent(folder, verify(folder, sha256=None, roles=TRAINING))
    if job.task != "fine_tune":
        raise ArtefactError(f"{job.parent} is not an artefact: rules can be mined for a version only")
    return None


def _rules(job: TrainJob, parent: _Parent | None, sides: Sides, report: Report) -> tuple[list[Rule], list[Rule], int]:
    """The mined rules, all rules of the new version, and their revision."""
    before = RuleSet(revision=0, rules=[])
    if parent:
        before = read_rule_set(parent.folder)
    known = list(before.rules if job.rules is None else job.rules)
    mined: list[Rule] = []
    if job.extract_keywords or job.task == "extract_keywords":
        report(Progress("keywords"))
        mined = mine(
            [*sides.training, *sides.validation],
            min_support=job.min_support,
            min_confidence=job.min_confidence,
            limit=job.rule_limit,
            words=[rule.keyword for rule in known],
        )
    rules = merge(known, mined)
    changed = rules != before.rules
    return mined, rules, before.revision + changed if job.rules_revision is None else job.rules_revision


def _identity(job: TrainJob, parent: _Parent | None, revision: int) -> Identity:
    known = parent.manifest if parent else None
    return Identity(
        version=job.version,
        parent=known.version if known else None,
        base_model=known.base_model if known else Path(job.parent).name,
        created_at=job.created_at,
        labels=known.labels if known else INTENTS,
        max_length=known.max_length if known else MAX_LENGTH,
        rules_revision=revision,
    )


def _fine_tune(
    job: TrainJob, parent: _Parent | None, sides: Sides, revision: int, scratch: Path, report: Report
) -> tuple[int, int]:
    """Train, export and calibrate into `scratch`; returns how many fresh and replayed rows trained."""
    fresh = split(distinct(job.rows)).training
    if not fresh and parent:
        raise TrainingError("no fresh question is on the training side: all are held out, validate, or there are none")
    identity = _identity(job, parent, revision)
    replayed = sample(sides.training, fresh, salt=f"{job.seed}:{identity.parent}", labels=identity.labels)
    if parent is None:  # a first version learns everything there is
        known = {row.question for row in fresh}
        replayed = [row for row in sides.training if row.question not in known]
    # Imported here, because torch takes seconds and mining rules does not need it.
    from training.increment import increment

    start = str(parent.folder) if parent else job.parent
    increment(start, fresh, replayed, sides.validation, identity, scratch, job=job, report=report)
    calibrate_and_seal(scratch, identity, sides.validation, threads=job.threads)
    return len(fresh), len(replayed)


def _keep_model(job: TrainJob, parent: _Parent | None, revision: int, scratch: Path) -> int:
    """Take the parent's model, thresholds and weights over; returns the rows that trained: none."""
    assert parent is not None
    for name in _MODEL_FILES:
        source = parent.folder / name
        if source.is_dir():
            shutil.copytree(source, scratch / name)
        else:
            shutil.copyfile(source, scratch / name)
    kept = {"temperature": parent.manifest.temperature, "thresholds": parent.manifest.thresholds}
    seal(scratch, _identity(job, parent, revision).fields() | kept)
    return 0


def _judge(
    job: TrainJob, parent: _Parent | None, held_out: list[Row], scratch: Path, report: Report
) -> tuple[Verdict, dict[str, Any]]:
    """Score the serving version and the candidate on the same rows, through the predictor that replicas run."""
    truth = marks(held_out)
    report(Progress("evaluate", 0, 2))
    serving: Marks | None = None
    if parent:
        serving = answers(Predictor.load(parent.folder, threads=job.threads), held_out)
    report(Progress("evaluate", 1, 2))
    model = Predictor.load(scratch, threads=job.threads)
    candidate = answers(model, held_out)
    KeywordRules.load(scratch)  # a rule file that does not load must not get past here
    report(Progress("gate"))
    sanity = Sanity(
        finite=bool(np.isfinite(model.probabilities([row.question for row in held_out[:50]])).all()),
        labels_equal=parent is None or model.labels == parent.manifest.labels,
    )
    verdict = judge(serving, candidate, truth, sanity)
    return verdict, {
        "held_out_rows": len(held_out),
        "serving": None if serving is None else score(serving, truth).as_json(),
        "candidate": score(candidate, truth).as_json(),
    }
