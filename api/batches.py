"""Training batches and keyword extraction: both run through the same event, ``training.requested``."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select

from api.inputs import Extraction, KeywordListing, Listing, NewBatch, RunBatch, Why
from api.state import Api
from api.wire import PREFIX, Call, Nothing
from schema.batches import cancel, make_batch, request_run
from schema.database import hold_lock
from schema.errors import Conflict, NotFound
from schema.privacy import mask
from schema.tables import intent_keyword_rules as rules
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_user_questions as questions

LISTED: Final = [
    "batch_id",
    "description",
    "task",
    "trigger",
    "training_status",
    "requested",
    "question_count",
    "labeled_count",
    "model_version",
    "parent_version",
    "model_accuracy",
    "training_start_time",
    "training_end_time",
    "training_duration_sec",
    "rules_extracted",
    "error_message",
    "progress",
    "created_at",
]
DETAIL: Final = ["model_path", "auto_extract_keywords", "options", "metrics", "attempt"]
LOG_CHARS: Final = 20_000
"""So much of the end of a training's log is shown."""


def look(batch_id: str) -> str:
    """Where a batch can be watched."""
    return f"{PREFIX}/batches/{batch_id}"


async def new_batch(api: Api, call: Call[NewBatch, Nothing]) -> dict[str, Any]:
    """Make a batch of all open questions. It waits until it is run."""

    def work(connection: Connection) -> dict[str, Any]:
        hold_lock(connection, "trigger")
        made = make_batch(connection, task="fine_tune", trigger="manual", description=mask(call.body.description)[:500])
        return {
            "batch_id": made.batch_id,
            "training_status": "pending",
            "question_count": made.question_count,
            "labeled_count": made.labeled_count,
            "look": look(made.batch_id),
        }

    return await api.database(work)


async def list_batches(api: Api, call: Call[Nothing, Listing]) -> dict[str, Any]:
    """The newest batches first."""

    def work(connection: Connection) -> dict[str, Any]:
        chosen = select(*(batches.c[name] for name in LISTED)).order_by(batches.c.id.desc()).limit(call.query.limit)
        return {"batches": [dict(row) for row in connection.execute(chosen).mappings()]}

    return await api.database(work)


async def batch(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """One batch with its metrics, the gate's verdict and the end of its log."""
    batch_id = call.path["batch_id"]

    def work(connection: Connection) -> dict[str, Any]:
        log_end = func.right(batches.c.training_log, LOG_CHARS).label("training_log")
        chosen = select(*(batches.c[name] for name in (*LISTED, *DETAIL)), log_end).where(batches.c.batch_id == batch_id)
        row = connection.execute(chosen).mappings().one_or_none()
        if row is None or row["batch_id"] != batch_id:
            raise NotFound("unknown_batch", f"there is no batch {batch_id[:64]}", "batch_id")
        return {"batch": dict(row)}

    return await api.database(work)


async def run_batch(api: Api, call: Call[RunBatch, Nothing]) -> dict[str, Any]:
    """Hand a pending batch to the trainer. A repeat before it starts changes nothing."""
    batch_id = call.path["batch_id"]

    def work(connection: Connection) -> dict[str, Any]:
        row = request_run(connection, batch_id, auto_extract_keywords=call.body.auto_extract_keywords)
        if row.training_status == "training":
            raise Conflict("batch_running", f"batch {batch_id} is being trained already", "batch_id")
        return {"batch_id": row.batch_id, "training_status": row.training_status, "look": look(row.batch_id)}

    return await api.database(work)


async def cancel_batch(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """End a batch that waits or is being trained; its questions go into the next one."""
    batch_id, reason = call.path["batch_id"], mask(call.body.reason)[:500] or "cancelled by hand"

    def work(connection: Connection) -> dict[str, Any]:
        hold_lock(connection, "trigger")
        before = cancel(connection, batch_id, reason=reason)
        return {"batch_id": batch_id, "training_status": "cancelled", "was": before.training_status, "look": look(batch_id)}

    return await api.database(work)


async def extract_keywords(api: Api, call: Call[Nothing, Extraction]) -> dict[str, Any]:
    """Make new keyword rules from all labels, without training the model. Ends as a version of its own, through the gate."""
    wanted = call.query.min_confidence
    options = {
        "min_confidence": api.settings.rule_min_confidence if wanted is None else wanted,
        "limit": call.query.limit,
    }

    def work(connection: Connection) -> dict[str, Any]:
        hold_lock(connection, "trigger")
        labelled = select(questions.c.id).where(and_(questions.c.is_labeled, questions.c.consent_training)).limit(1)
        if connection.execute(labelled).first() is None:
            raise Conflict("nothing_labeled", "no labelled, consented question is there to learn keywords from")
        make = partial(make_batch, task="extract_keywords", trigger="manual", description="keyword extraction")
        made = make(connection, options=options)
        request_run(connection, made.batch_id)
        return {"batch_id": made.batch_id, "training_status": "pending", "options": options, "look": look(made.batch_id)}

    return await api.database(work)


async def keyword_rules(api: Api, call: Call[Nothing, KeywordListing]) -> dict[str, Any]:
    """The keyword rules, the most used first."""

    def work(connection: Connection) -> dict[str, Any]:
        chosen = select(rules).order_by(rules.c.usage_count.desc(), rules.c.support.desc(), rules.c.id)
        if call.query.intent:
            chosen = chosen.where(rules.c.intent == call.query.intent)
        return {"keywords": [dict(row) for row in connection.execute(chosen.limit(call.query.limit)).mappings()]}

    return await api.database(work)
