"""Which version serves: one way to change it, for the gate and for people alike.

An activation row is appended, the version is marked, and ``model.activated`` is queued, in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from schema.database import hold_lock
from schema.errors import Conflict, NotFound
from schema.events import ModelActivated
from schema.outbox import enqueue
from schema.tables import intent_model_activations as activations
from schema.tables import intent_model_versions as versions
from schema.tables import utc_now
from schema.topics import MODEL_ACTIVATED
from schema.tracing import continued

SERVING_KEY: Final = "serving"


@dataclass(frozen=True, slots=True)
class Activation:
    """What serves since when. `changed` is false where it served already."""

    generation: int
    version: str
    rules_revision: int
    changed: bool


def activate(
    connection: Connection, version: str, *, by: str, reason: str, override_gate: bool = False, traceparent: str | None = None
) -> Activation:
    """Make `version` the serving one and queue ``model.activated``. A repeat of the current activation changes nothing.

    Raises:
        NotFound: no such version.
        Conflict: the version failed its gate, and `override_gate` is false.
    """
    hold_lock(connection, "activation")
    row = connection.execute(select(versions).where(versions.c.version == version)).one_or_none()
    if row is None:
        raise NotFound("unknown_version", f"there is no version {version}", "version")
    if not row.gate_passed and not override_gate:
        raise Conflict("gate_not_passed", f"{version} failed its gate; activate it with a reason to override", "reason")
    current = current_activation(connection)
    if current is not None and current.version == version:
        return Activation(current.id, version, current.rules_revision, changed=False)
    return _append(connection, row, by=by, reason=reason, traceparent=traceparent)


def roll_back(connection: Connection, *, by: str, reason: str) -> Activation:
    """Serve again what served before the current version.

    Raises:
        Conflict: nothing served before.
    """
    hold_lock(connection, "activation")
    current = current_activation(connection)
    before = select(activations.c.version).order_by(activations.c.id.desc()).limit(1)
    if current is not None:
        before = before.where(activations.c.id < current.id, activations.c.version != current.version)
    version = connection.execute(before).scalar_one_or_none() if current is not None else None
    if version is None:
        raise Conflict("nothing_before", "no other version has served before the current one")
    row = connection.execute(select(versions).where(versions.c.version == version)).one()
    return _append(connection, row, by=by, reason=reason)


def current_activation(connection: Connection) -> Row[Any] | None:
    """The last activation's row, or None before the first."""
    return connection.execute(select(activations).order_by(activations.c.id.desc()).limit(1)).one_or_none()


def _append(connection: Connection, version: Row[Any], *, by: str, reason: str, traceparent: str | None = None) -> Activation:
    now = utc_now()
    row = {
        "version": version.version,
        "rules_revision": version.rules_revision,
        "traffic": 100,
        "mode": "serve",
        "activated_by": by,
        "reason": reason,
        "activated_at": now,
    }
    generation = int(connection.execute(activations.insert(), row).lastrowid)
    connection.execute(update(versions).where(versions.c.is_active).values(is_active=False))
    connection.execute(update(versions).where(versions.c.id == version.id).values(is_active=True, deployed_at=now))
    event = ModelActivated(
        generation=generation,
        version=version.version,
        rules_revision=version.rules_revision,
        model_url=version.model_path,
        manifest_sha256=version.manifest_sha256,
        activated_by=by,
        reason=reason,
        activated_at=now.replace(tzinfo=UTC),
    )
    enqueue(connection, MODEL_ACTIVATED, event, key=SERVING_KEY, traceparent=continued(traceparent))
    return Activation(generation, version.version, version.rules_revision, changed=True)
