"""What a training child gets, and what becomes of a batch and its members in the database.

Fresh rows: the batch's members, and those of rejected batches (used, but by no version that serves). Replay rows: what
earlier versions were trained on. Only questions whose asker agreed are read, whatever their status says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, case, literal_column, or_, select, update
from sqlalchemy.dialects.mysql import insert

from consumers.registry import artefact_of, next_rules_revision, next_version
from inference.rules import RuleSet
from schema.activations import current_activation
from schema.batches import ENDED, release
from schema.errors import TransientError
from schema.events import TrainingFinished
from schema.outbox import enqueue
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_label_suspects as suspects
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_model_versions as versions
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import TRAINING_FINISHED
from schema.tracing import continued


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a batch: what it is called, what it starts from, and its fencing token."""

    batch_id: str
    task: str
    attempt: int
    version: str
    rules_revision: int
    parent_version: str
    parent_url: str
    parent_sha256: str
    extract_keywords: bool
    options: dict[str, Any]
    traceparent: str | None


def begin(connection: Connection, batch_id: str) -> Run | None:
    """Take a batch that waits, or one that a dead trainer left; None where it is unknown or has ended.

    The version's name is kept over attempts, so that a restart never makes a second version.
    """
    batch = connection.execute(select(batches).where(batches.c.batch_id == batch_id).with_for_update()).one_or_none()
    if batch is None or batch.training_status in ENDED:
        return None
    current = current_activation(connection)
    if current is None:
        raise TransientError("no version has ever been activated: run `intentloop migrate`")
    parent = connection.execute(select(versions).where(versions.c.version == current.version)).one()
    version = batch.model_version or next_version(connection)  # a rescore comes with the version that it is about
    attempt = batch.attempt + 1
    values: dict[str, Any] = {
        "training_status": "training",
        "training_start_time": utc_now(),
        "attempt": attempt,
        "model_version": version,
        "parent_version": parent.version,
    }
    connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
    return Run(
        batch_id=batch_id,
        task=batch.task,
        attempt=attempt,
        version=version,
        rules_revision=next_rules_revision(connection),
        parent_version=parent.version,
        parent_url=parent.model_path,
        parent_sha256=parent.manifest_sha256,
        extract_keywords=batch.auto_extract_keywords,
        options=batch.options or {},
        traceparent=batch.traceparent,
    )


def unfinished(connection: Connection) -> list[str]:
    """The batches that are marked as being trained: after a crash nobody trains them."""
    return list(connection.execute(select(batches.c.batch_id).where(batches.c.training_status == "training")).scalars())


def write_rows(connection: Connection, run: Run, folder: Path) -> tuple[Path, Path, Path]:
    """Write the fresh rows, the replay rows and the present rules as JSON lines; returns the three paths."""
    labelled = _labelled()
    fresh = and_(
        labelled,
        or_(
            and_(questions.c.training_batch_id == run.batch_id, questions.c.training_status == "pending"),
            and_(questions.c.training_status == "used", questions.c.training_model_version.is_(None)),
        ),
    )
    replay = and_(labelled, questions.c.training_status == "used", questions.c.training_model_version.is_not(None))
    if run.task == "extract_keywords":
        fresh, replay = labelled, questions.c.id < 0
    return (
        _write(folder / "data.jsonl", _question_lines(connection, fresh)),
        _write(folder / "replay.jsonl", _question_lines(connection, replay)),
        _write(folder / "rules.jsonl", _rule_lines(connection)),
    )


def write_labels(connection: Connection, folder: Path) -> Path:
    """Write all labelled questions as JSON lines; returns the path."""
    return _write(folder / "data.jsonl", _question_lines(connection, _labelled()))


def _labelled() -> ColumnElement[bool]:
    return and_(questions.c.is_labeled, questions.c.consent_training)


def _question_lines(connection: Connection, which: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    chosen = select(questions.c.question, questions.c.correct_intent).where(which).order_by(questions.c.id)
    return ({"question": row.question, "intents": row.correct_intent} for row in connection.execute(chosen))


def _rule_lines(connection: Connection) -> Iterator[dict[str, Any]]:
    names = ("keyword", "intent", "source", "enabled", "success_count", "failure_count", "support")
    for row in connection.execute(select(rules).order_by(rules.c.keyword, rules.c.intent)).mappings():
        told = {name: row[name] for name in names} | {"confidence_boost": float(row["confidence_boost"])}
        yield told | {"retired_reason": row["retired_reason"] or ""}


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return path


def holds(connection: Connection, run: Run) -> bool:
    """Whether `run` is still the batch's last attempt; the batch's row is locked. A zombie finds that it is not."""
    row = connection.execute(select(batches.c.attempt).where(batches.c.batch_id == run.batch_id).with_for_update()).one()
    return bool(row.attempt == run.attempt)


def finish(
    connection: Connection,
    run: Run,
    outcome: Literal["completed", "rejected", "failed"],
    *,
    reason: str,
    log_text: str = "",
    metrics: dict[str, Any] | None = None,
    model_url: str | None = None,
    rules_extracted: int | None = None,
) -> None:
    """End a batch and settle its members: learned, kept for the next training, or released."""
    metrics = metrics or {}
    now = utc_now()
    start = select(batches.c.training_start_time).where(batches.c.batch_id == run.batch_id)
    began = connection.execute(start).scalar_one() or now
    values: dict[str, Any] = {
        "training_status": outcome,
        "training_end_time": now,
        "training_duration_sec": round((now - began).total_seconds(), 3),
        "error_message": reason if outcome != "completed" else None,
        "training_log": log_text[-1_000_000:],
        "metrics": metrics,
        "model_accuracy": (metrics.get("candidate") or {}).get("accuracy"),
        "model_path": model_url,
        "rules_extracted": rules_extracted,
    }
    connection.execute(update(batches).where(batches.c.batch_id == run.batch_id).values(values))
    members = and_(questions.c.is_labeled, questions.c.training_batch_id == run.batch_id)  # only labelled ones are members
    if outcome == "failed":
        release(connection, run.batch_id)
    elif run.task == "fine_tune":
        learned = or_(and_(members, questions.c.training_status == "pending"), _kept_from_rejected())
        values = {"training_status": "used", "updated_at": now}
        if outcome == "completed":
            values["training_model_version"] = run.version
            connection.execute(update(questions).where(learned, questions.c.consent_training).values(values))
        else:
            connection.execute(update(questions).where(members, questions.c.training_status == "pending").values(values))
    event = TrainingFinished(
        batch_id=run.batch_id, outcome=outcome, version=run.version if model_url else None, reason=reason, metrics=metrics
    )
    enqueue(connection, TRAINING_FINISHED, event, key=run.batch_id, traceparent=continued(run.traceparent))


def rejudged(connection: Connection, run: Run, result: dict[str, Any], found: RuleSet, *, log_text: str) -> None:
    """Write down the new verdict on a version that was judged before, and end the batch that asked for it.

    A version that passes now has learned its questions; its rules are saved as if it had passed at once.
    """
    passed = result["outcome"] == "completed"
    scores = result["metrics"]["candidate"]
    values = {"gate_passed": passed, "metrics": scores, "accuracy": scores["accuracy"]}
    connection.execute(update(versions).where(versions.c.version == run.version).values(values))
    if passed:
        save_rules(connection, [rule.model_dump() for rule in found.rules], found.revision)
        by = select(versions.c.training_batch_id).where(versions.c.version == run.version).scalar_subquery()
        its_own = and_(_kept_from_rejected(), questions.c.training_batch_id == by, questions.c.consent_training)
        learned = {"training_model_version": run.version, "updated_at": utc_now()}
        connection.execute(update(questions).where(its_own).values(learned))
    finish(
        connection,
        run,
        "completed" if passed else "rejected",
        reason=result["reason"],
        log_text=log_text,
        metrics=result["metrics"],
        model_url=artefact_of(connection, run.version)[0],
    )


def _kept_from_rejected() -> Any:
    return and_(questions.c.is_labeled, questions.c.training_status == "used", questions.c.training_model_version.is_(None))


def save_rules(connection: Connection, judged: Iterable[dict[str, Any]], revision: int) -> None:
    """Add mined rules, refresh the evidence of those that are there, retire and flag; manual ones keep their boost and state."""
    now = utc_now()
    rows = [
        {
            "keyword": rule["keyword"],
            "intent": rule["intent"],
            "confidence_boost": rule["confidence_boost"],
            "source": rule.get("source", "auto"),
            "support": rule.get("support", 0),
            "enabled": rule.get("enabled", True),
            "retired_reason": rule.get("retired_reason", "")[:255] or None,
            "revision_added": revision,
            "created_at": now,
            "updated_at": now,
        }
        for rule in sorted(judged, key=lambda rule: (rule["keyword"], rule["intent"]))
    ]
    if rows:
        statement = insert(rules)
        new = statement.inserted
        # What a person switched off meanwhile stays off. MySQL assigns from left to right: the reason as it was decides.
        # Literals, as PyMySQL takes no parameters behind the values of many rows.
        automatic, off = rules.c.source == literal_column("'auto'"), new.enabled == literal_column("0")
        by_itself = and_(automatic, or_(rules.c.retired_reason.is_not(None), off))
        fresh = [
            ("support", new.support),
            ("enabled", case((by_itself, new.enabled), else_=rules.c.enabled)),
            ("retired_reason", new.retired_reason),
            ("updated_at", new.updated_at),
        ]
        connection.execute(statement.on_duplicate_key_update(fresh), rows)


def save_suspects(connection: Connection, run: Run, found: Iterable[dict[str, Any]]) -> None:
    """Replace what looked wrong to earlier trainings by what looked wrong to this one."""
    connection.execute(suspects.delete())
    by_text = {bytes.fromhex(one["text_hash"]): one for one in found}
    if not by_text:
        return
    labelled = select(questions.c.id, questions.c.text_hash, questions.c.labeled_at)
    rows = [
        {
            "question_id": row.id,
            "quality": by_text[row.text_hash]["quality"],
            "suggested": by_text[row.text_hash]["suggested"],
            "labeled_at": row.labeled_at,
            "training_batch_id": run.batch_id,
        }
        for row in connection.execute(labelled.where(questions.c.is_labeled, questions.c.consent_training))
        if row.text_hash in by_text
    ]
    if rows:
        connection.execute(suspects.insert(), rows)
