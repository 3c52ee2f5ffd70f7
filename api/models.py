"""Versions: which there are, what they are, and judging one again. Which of them answer: `api.rollouts`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, select

from api.batches import look
from api.cards import read_card, read_rules_report
from api.inputs import Why
from api.state import Api, T
from api.wire import Call, Nothing, Unavailable
from schema.activations import current_activation
from schema.batches import make_batch, request_run
from schema.database import hold_lock
from schema.errors import ArtefactError, Conflict, NotFound
from schema.privacy import mask
from schema.tables import intent_model_versions as versions

SHOWN: Final = [
    "version",
    "model_name",
    "base_model",
    "parent_version",
    "training_batch_id",
    "question_count",
    "accuracy",
    "gate_passed",
    "rules_revision",
    "is_active",
    "deployed_at",
    "description",
    "model_path",
    "manifest_sha256",
    "metrics",
    "created_at",
]


async def models(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """All versions, the newest first, and the one that serves."""

    def work(connection: Connection) -> dict[str, Any]:
        chosen = select(*(versions.c[name] for name in SHOWN)).order_by(versions.c.id.desc())
        current = current_activation(connection)
        return {
            "models": [dict(row) for row in connection.execute(chosen).mappings()],
            "serving": current and current.version,
        }

    return await api.database(work)


def path_of(connection: Connection, version: str) -> str:
    """Where the artefact of `version` is; raises `NotFound` where there is none."""
    known = connection.execute(select(versions.c.version, versions.c.model_path).where(versions.c.version == version)).first()
    if known is None or known.version != version:  # the database takes 'v1 ' for 'v1'
        raise NotFound("unknown_version", f"there is no version {version[:64]}", "version")
    return str(known.model_path)


async def model_card(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """What a version is, in Markdown, and its pictures as SVG."""
    card, pictures = await _read(api, call.path["version"], read_card)
    return {"version": call.path["version"], "card": card, "pictures": pictures}


async def model_rules(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """The keyword rules of a version, with how each did on the labelled questions that it was made from."""
    return {"version": call.path["version"], "rules": await _read(api, call.path["version"], read_rules_report)}


async def _read(api: Api, version: str, read: Callable[[str], T]) -> T:
    """What `read` finds in the artefact of `version`."""
    url = await api.database(partial(path_of, version=version))
    try:
        return await asyncio.to_thread(read, url)
    except ArtefactError as error:
        raise Unavailable("models_unavailable", str(error)) from None


async def rescore_model(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """Judge a version again, against the one that serves, on the held-out questions as they are labelled now."""
    version, reason = call.path["version"], mask(call.body.reason)[:500]

    def work(connection: Connection) -> dict[str, Any]:
        hold_lock(connection, "trigger")
        path_of(connection, version)
        current = current_activation(connection)
        if current is not None and current.version == version:
            raise Conflict("serving", f"{version} serves: there is nothing to judge it against", "version")
        description = f"{version} judged again" + (f": {reason}" if reason else "")
        made = make_batch(connection, task="rescore", trigger="manual", description=description[:500], version=version)
        request_run(connection, made.batch_id)
        return {"batch_id": made.batch_id, "version": version, "training_status": "pending", "look": look(made.batch_id)}

    return await api.database(work)
