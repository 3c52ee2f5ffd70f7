"""The trainer: runs one batch at a time in a child process, and writes down what came of it.

torch lives in that child alone. While it works the trainer keeps its place in the consumer group, passes its progress on,
and can be killed at any moment: the event comes again, the batch is found in state ``training`` and is run again under the
same version name, with a higher attempt number that keeps a zombie from writing.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Histogram
from sqlalchemy import Connection, Engine, update

from consumers.child import ChildFailed, run_child
from consumers.registry import artefact_of, register_version
from consumers.training_data import (
    Run,
    begin,
    finish,
    holds,
    rejudged,
    save_rules,
    save_suspects,
    unfinished,
    write_labels,
    write_rows,
)
from inference.artefact import TRAINING, fetch, manifest_sha256, publish, read_manifest
from inference.rules import read_rule_set
from schema.activations import activate
from schema.database import in_transaction
from schema.envelope import Envelope
from schema.errors import ArtefactError, TransientError
from schema.events import TrainingProgress, TrainingRequested
from schema.outbox import enqueue
from schema.settings import Settings
from schema.tables import intent_model_training_batches as batches
from schema.topics import TRAINING_PROGRESS
from schema.tracing import continued, trace_id

log = logging.getLogger(__name__)
RUNS = Counter("intentloop_training_runs", "batches by how they ended", ["outcome"])
SECONDS = Histogram("intentloop_training_duration_seconds", "one training", buckets=(5, 15, 30, 60, 120, 300, 900, 3600))
PROGRESS_EVERY = 1.0
LOOK_EVERY = 1.0


class Stopped(TransientError):
    """The trainer is ending: the batch is left as it is, and the next trainer runs it again."""


class Cancelled(TransientError):
    """The batch is no longer this trainer's: it was cancelled, or another one has it."""


class Trainer:
    """Handles `training.requested`.

    Args:
        command: how ``intentloop`` is called in the child.
        keep_alive: called about five times a second while the child works.
        stopping: ends the child and leaves the batch for the next trainer.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        command: tuple[str, ...] = (sys.executable, "-m", "intentloop"),
        environ: dict[str, str] | None = None,
    ) -> None:
        self.keep_alive: Callable[[], None] = lambda: None
        self.stopping = threading.Event()
        self._engine = engine
        self._settings = settings
        self._command = command
        self._environ = environ

    def handle(self, envelope: Envelope[TrainingRequested]) -> None:
        """Run the batch; a repeat of the event finds it ended and does nothing."""
        self.train(envelope.data.batch_id)

    def resume(self) -> None:
        """Run again what a dead trainer left in state ``training``. Called when this one gets the partition."""
        for batch_id in in_transaction(self._engine, unfinished):
            log.info("batch %s was left in training: running it again", batch_id)
            self.train(batch_id)

    def train(self, batch_id: str) -> None:
        """Run one batch to its end.

        Raises:
            TransientError: the database or the artefact store is away, or the trainer is stopping.
        """
        run = in_transaction(self._engine, partial(begin, batch_id=batch_id))
        if run is None:
            log.info("batch %s has ended already", batch_id)
            return
        with tempfile.TemporaryDirectory(prefix="intentloop-train-") as name, SECONDS.time():
            folder = Path(name)
            try:
                parent = self._fetch(run.parent_url, run.parent_sha256)
                work = self._judge_again if run.task == "rescore" else self._fine_tune
                work(run, parent, folder)
            except (ChildFailed, ArtefactError) as error:
                log.error("batch %s failed: %s", run.batch_id, error)
                self._fail(run, str(error), error.log_text if isinstance(error, ChildFailed) else "")
            except Cancelled as gone:
                log.info("batch %s: %s", run.batch_id, gone)
            shutil.rmtree(self._checkpoints(run), ignore_errors=True)

    def _fetch(self, url: str, sha256: str) -> Path:
        """A version with all that a training needs of it."""
        settings = self._settings
        return fetch(url, sha256=sha256, cache=settings.var / "cache", roles=TRAINING, verify_key=settings.verify_key)

    def _checkpoints(self, run: Run) -> Path:
        """Where an interrupted child left its state: kept until the batch ends, however often it is begun."""
        return self._settings.var / "training" / run.batch_id

    def _child(self, run: Run, command: list[str], folder: Path) -> tuple[dict[str, Any], str]:
        """Run ``intentloop`` with `command`, and pass its progress on; returns its result and its log.

        Raises:
            ChildFailed: it ended without a result.
            Stopped: the trainer is ending.
            Cancelled: the batch was taken away.
        """
        looked, told = time.monotonic(), -PROGRESS_EVERY  # the first progress is told at once

        def watch() -> None:
            nonlocal looked
            self.keep_alive()
            if self.stopping.is_set():
                raise Stopped("the trainer is ending")
            if time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                if not in_transaction(self._engine, partial(holds, run=run)):
                    raise Cancelled("cancelled, or taken over by another trainer: its process is ended")

        def progress(now: dict[str, Any]) -> None:
            nonlocal told
            if time.monotonic() - told > PROGRESS_EVERY:
                told = time.monotonic()
                in_transaction(self._engine, partial(_tell, run=run, progress=now))

        whole = [*self._command, *command, "--progress"]
        return run_child(whole, folder / "child.log", environ=self._environ, watch=watch, progress=progress)

    def _fine_tune(self, run: Run, parent: Path, folder: Path) -> None:
        """Train or mine, and settle what came of it."""
        data, replay, rules = in_transaction(self._engine, partial(write_rows, run=run, folder=folder))
        out = folder / "out"
        command = [
            *("train", "--data", str(data), "--replay", str(replay), "--rules", str(rules)),
            *("--parent", str(parent), "--out", str(out), "--version", run.version),
            *("--rules-revision", str(run.rules_revision), "--task", run.task),
            *("--checkpoints", str(self._checkpoints(run))),
        ]
        if not run.extract_keywords and run.task == "fine_tune":
            command.append("--no-extract-keywords")
        for name, value in run.options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self._settle(run, out, *self._child(run, command, folder))

    def _judge_again(self, run: Run, serving: Path, folder: Path) -> None:
        """Let a version go through the gate once more, on the held-out rows as they are labelled now."""
        url, sha256 = in_transaction(self._engine, partial(artefact_of, version=run.version))
        candidate = self._fetch(url, sha256)
        data = in_transaction(self._engine, partial(write_labels, folder=folder))
        command = ["models", "rescore", str(candidate), "--against", str(serving), "--data", str(data)]
        result, text = self._child(run, command, folder)

        def work(connection: Connection) -> None:
            if holds(connection, run):
                rejudged(connection, run, result, read_rule_set(candidate), log_text=text)
                if result["outcome"] == "completed" and self._settings.auto_activate:
                    activate(connection, run.version, by="gate", reason=result["reason"][:500], traceparent=run.traceparent)

        self._ended(run, result, work)

    def _settle(self, run: Run, out: Path, result: dict[str, Any], text: str) -> None:
        """Publish the artefact, then end the batch, add the version and activate it, in one transaction."""
        url = publish(out, self._settings.models, signing_key=self._settings.signing_key.get_secret_value())
        manifest, sha256 = read_manifest(out), manifest_sha256(out)
        passed = result["outcome"] == "completed"
        metrics = result["metrics"]

        def work(connection: Connection) -> None:
            if not holds(connection, run):
                log.warning("batch %s was taken over by another trainer", run.batch_id)
                return
            register_version(
                connection,
                manifest,
                url=url,
                sha256=sha256,
                gate_passed=passed,
                metrics=metrics.get("candidate", {}),
                batch_id=run.batch_id,
                question_count=metrics.get("train_rows", 0),
                description=result.get("reason", ""),
            )
            save_suspects(connection, run, result.get("suspects", ()))
            if passed:
                save_rules(connection, result.get("rules", ()), manifest.rules_revision)
            finish(
                connection,
                run,
                "completed" if passed else "rejected",
                reason=result.get("reason", ""),
                log_text=text,
                metrics=metrics,
                model_url=url,
                rules_extracted=result.get("rules_extracted", 0),
            )
            if passed and self._settings.auto_activate:
                reason = result.get("reason", "")[:500]
                activate(connection, run.version, by="gate", reason=reason, traceparent=run.traceparent)

        self._ended(run, result, work)

    def _ended(self, run: Run, result: dict[str, Any], work: Callable[[Connection], None]) -> None:
        in_transaction(self._engine, work)
        RUNS.labels(result["outcome"]).inc()
        fields = {"trace_id": trace_id(run.traceparent)}
        log.info("batch %s %s: %s %s", run.batch_id, result["outcome"], run.version, result.get("reason", ""), extra=fields)

    def _fail(self, run: Run, reason: str, text: str) -> None:
        def work(connection: Connection) -> None:
            if holds(connection, run):
                finish(connection, run, "failed", reason=reason, log_text=text)

        in_transaction(self._engine, work)
        RUNS.labels("failed").inc()


def _tell(connection: Connection, run: Run, progress: dict[str, Any]) -> None:
    if not holds(connection, run):
        return
    event = TrainingProgress.model_validate({"batch_id": run.batch_id, "attempt": run.attempt, **progress})
    values = {"progress": event.model_dump()}
    connection.execute(update(batches).where(batches.c.batch_id == run.batch_id).values(values))
    enqueue(connection, TRAINING_PROGRESS, event, key=run.batch_id, traceparent=continued(run.traceparent))
