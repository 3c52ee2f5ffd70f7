"""Which versions answer: activating one for everyone, for a share of the users or in the shadow; and how that goes."""

from __future__ import annotations

from datetime import UTC
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from api.inputs import Activation as Wanted
from api.inputs import Moment, Why
from api.models import SHOWN, path_of
from api.state import Api
from api.stats import model_effect
from api.wire import PREFIX, Call, Nothing, Unavailable
from schema.activations import Activation, activate, promote, roll_back, rollout_at
from schema.errors import NotFound, TransientError
from schema.privacy import mask
from schema.rollups import read
from schema.tables import intent_model_activations as activations
from schema.tables import intent_model_versions as versions
from schema.tables import intent_rollout_comparisons as comparisons

BY: Final = "api"
ROLLOUT: Final = f"{PREFIX}/rollout"
TOLD: Final = ("version", "rules_revision", "traffic", "mode", "activated_at", "activated_by", "reason")


async def activate_model(api: Api, call: Call[Wanted, Nothing]) -> dict[str, Any]:
    """Make a version serve, or a candidate beside the one that does. One that failed its gate needs a reason."""
    version, wanted, reason = call.path["version"], call.body, mask(call.body.reason)[:500]

    def work(connection: Connection) -> Activation:
        path_of(connection, version)
        why = reason or "by hand"
        return activate(
            connection, version, by=BY, reason=why, traffic=wanted.traffic, mode=wanted.mode, override_gate=bool(reason)
        )

    return _told(await api.database(work))


async def promote_model(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """Make the candidate serve everyone."""
    version, reason = call.path["version"], mask(call.body.reason)[:500] or "promoted by hand"

    def work(connection: Connection) -> Activation:
        path_of(connection, version)
        return promote(connection, version, by=BY, reason=reason)

    return _told(await api.database(work))


async def rollback(api: Api, call: Call[Why, Nothing]) -> dict[str, Any]:
    """End the candidate; where there is none, make the version serve that served before."""
    reason = mask(call.body.reason)[:500] or "rollback by hand"
    return _told(await api.database(partial(roll_back, by=BY, reason=reason)))


def _told(made: Activation) -> dict[str, Any]:
    return {
        "version": made.version,
        "generation": made.generation,
        "rules_revision": made.rules_revision,
        "traffic": made.traffic,
        "mode": made.mode,
        "changed": made.changed,
        "look": ROLLOUT,
    }


def _row(row: Row[Any] | None) -> dict[str, Any] | None:
    """An activation as the API tells it; its id is the generation."""
    return {"generation": row.id} | {name: row._mapping[name] for name in TOLD} if row is not None else None


async def model_at(api: Api, call: Call[Nothing, Moment]) -> dict[str, Any]:
    """What served at a moment, who activated it and why; and the candidate that stood beside it."""
    moment = call.query.time.astimezone(UTC).replace(tzinfo=None)

    def work(connection: Connection) -> dict[str, Any]:
        then = rollout_at(connection, moment)
        told = _row(then.serving)
        if told is None:
            raise NotFound("nothing_served", f"nothing served at {call.query.time.isoformat()}", "time")
        of = select(*(versions.c[name] for name in SHOWN)).where(versions.c.version == told["version"])
        model = connection.execute(of).mappings().one_or_none()
        return {"time": call.query.time, **told, "model": model and dict(model), "candidate": _row(then.candidate)}

    return await api.database(work)


async def rollout(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Which replica has loaded what, who is late, and how a candidate does beside the version that serves."""
    try:
        api.replicas.check()
    except TransientError as error:
        raise Unavailable("kafka_unavailable", str(error)) from None

    def work(connection: Connection) -> dict[str, Any]:
        now = rollout_at(connection)
        told: dict[str, Any] = {"serving": _row(now.serving), "candidate": _row(now.candidate), "comparison": None}
        if now.candidate is not None:
            of = select(comparisons.c.comparison, comparisons.c.compared_at).where(comparisons.c.generation == now.candidate.id)
            found = connection.execute(of).one_or_none()
            if found is not None and found.comparison is not None:
                told["comparison"] = found.comparison | {"compared_at": found.compared_at}
        effect = model_effect(read(connection))["versions"]
        running = [row.version for row in (now.serving, now.candidate) if row is not None]
        told["llm_call_rate"] = {version: effect.get(version, {}).get("llm_call_rate") for version in running}
        return told

    told = await api.database(work)
    return told | api.replicas.rollout(told["serving"], told["candidate"], deadline=api.settings.rollout_deadline)


async def history(api: Api, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Every activation, the newest first, with the verdict on each candidate."""

    def work(connection: Connection) -> dict[str, Any]:
        joined = activations.outerjoin(comparisons, comparisons.c.generation == activations.c.id)
        chosen = select(activations, comparisons.c.verdict).select_from(joined).order_by(activations.c.id.desc()).limit(1000)
        rows = connection.execute(chosen).all()
        return {"activations": [(_row(row) or {}) | {"verdict": row.verdict} for row in rows]}

    return await api.database(work)
