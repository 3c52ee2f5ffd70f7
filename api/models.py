"""Versions: which there are, which serves, which served when, and changing it."""

from __future__ import annotations

import asyncio
from datetime import UTC
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, select

from api.cards import read_card
from api.inputs import Moment, Why
from api.state import Api
from api.wire import PREFIX, Call, Nothing, Unavailable
from schema.activations import Activation, activate, current_activation, roll_back
from schema.errors import ArtefactError, NotFound, TransientError
from schema.privacy import mask
from schema.tables import intent_model_activations as activations
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
BY: Final = "api"
ROLLOUT: Final = f"{PREFIX}/rollout"


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


async def model_card(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """What a version is, in Markdown, and its pictures as SVG."""
    version = call.path["version"]

    def find(connection: Connection) -> str:
        known = connection.execute(select(versions.c.version, versions.c.model_path).where(versions.c.version == version)).first()
        if known is None or known.version != version:
            raise NotFound("unknown_version", f"there is no version {version[:64]}", "version")
        return str(known.model_path)

    url = await api.database(find)
    try:
        card, pictures = await asyncio.to_thread(read_card, url)
    except ArtefactError as error:
        raise Unavailable("models_unavailable", str(error)) from None
    return {"version": version, "card": card, "pictures": pictures}


async def activate_model(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """Make a version serve. One that failed its gate needs a reason."""
    version, reason = call.path["version"], mask(call.body.reason)[:500]

    def work(connection: Connection) -> dict[str, Any]:
        known = connection.execute(select(versions.c.version).where(versions.c.version == version)).scalar_one_or_none()
        if known != version:  # the database takes 'v1 ' for 'v1'
            raise NotFound("unknown_version", f"there is no version {version[:64]}", "version")
        made = activate(connection, version, by=BY, reason=reason or "by hand", override_gate=bool(reason))
        return _told(made)

    return await api.database(work)


async def rollback(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """Make the version serve that served before."""
    reason = mask(call.body.reason)[:500] or "rollback by hand"
    return _told(await api.database(partial(roll_back, by=BY, reason=reason)))


def _told(made: Activation) -> dict[str, Any]:
    return {
        "version": made.version,
        "generation": made.generation,
        "rules_revision": made.rules_revision,
        "changed": made.changed,
        "look": ROLLOUT,
    }


async def model_at(api: Api, call: Call[Nothing, Moment]) -> dict[str, Any]:
    """What served at a moment."""
    moment = call.query.time.astimezone(UTC).replace(tzinfo=None)

    def work(connection: Connection) -> dict[str, Any]:
        chosen = select(activations).where(activations.c.activated_at <= moment).order_by(activations.c.id.desc()).limit(1)
        row = connection.execute(chosen).one_or_none()
        if row is None:
            raise NotFound("nothing_served", f"nothing served at {call.query.time.isoformat()}", "time")
        of = select(*(versions.c[name] for name in SHOWN)).where(versions.c.version == row.version)
        model = connection.execute(of).mappings().one_or_none()
        shown = ("version", "rules_revision", "activated_at", "activated_by", "reason")
        told = {name: row._mapping[name] for name in shown}
        return {"time": call.query.time, "generation": row.id, **told, "model": model and dict(model)}

    return await api.database(work)


async def rollout(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Which replica serves which version."""
    try:
        api.replicas.check()
    except TransientError as error:
        raise Unavailable("kafka_unavailable", str(error)) from None
    current = await api.database(current_activation)
    told = api.replicas.rollout(current and current.version)
    return told | {"wanted_generation": current and current.id, "activated_at": current and current.activated_at}
