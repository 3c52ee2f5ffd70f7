"""Which versions answer: one way to change it, for the gate, the guard and people alike.

An activation row is appended, the version is marked, and ``model.activated`` is queued, in the caller's transaction. One
version serves; besides it there may be one candidate, for a share of the users or in the shadow. A candidate stands until
the next activation, whichever that is: so both are told from the append-only rows alone, here and in every replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from schema.database import hold_lock
from schema.errors import Conflict, NotFound
from schema.events import ModelActivated
from schema.outbox import enqueue
from schema.tables import intent_model_activations as activations
from schema.tables import intent_model_versions as versions
from schema.tables import intent_rollout_comparisons as comparisons
from schema.tables import intent_user_questions as questions
from schema.tables import utc_now
from schema.topics import MODEL_ACTIVATED
from schema.tracing import continued

SERVING_KEY: Final = "serving"
CANDIDATE_KEY: Final = "candidate"
Mode = Literal["serve", "shadow"]
_FOR_ALL: Final[ColumnElement[bool]] = (activations.c.traffic == 100) & (activations.c.mode == "serve")


@dataclass(frozen=True, slots=True)
class Activation:
    """What answers since when, for how many of a hundred users. `changed` is false where it did so already."""

    generation: int
    version: str
    rules_revision: int
    traffic: int
    mode: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Rollout:
    """The activation rows in force: of the version that serves, and of a candidate beside it."""

    serving: Row[Any] | None
    candidate: Row[Any] | None


def activate(
    connection: Connection,
    version: str,
    *,
    by: str,
    reason: str,
    traffic: int = 100,
    mode: Mode = "serve",
    override_gate: bool = False,
    traceparent: str | None = None,
) -> Activation:
    """Make `version` serve, or a candidate where `traffic` is below 100 or `mode` is shadow; queue ``model.activated``.

    A repeat of what is in force changes nothing. A candidate gives way to any other activation.

    Raises:
        NotFound: no such version.
        Conflict: it failed its gate, would answer users, and `override_gate` is false; or a candidate has nothing to stand
            beside, or serves everyone already.
    """
    hold_lock(connection, "activation")
    row = connection.execute(select(versions).where(versions.c.version == version)).one_or_none()
    if row is None:
        raise NotFound("unknown_version", f"there is no version {version}", "version")
    if not row.gate_passed and not override_gate and mode != "shadow":
        raise Conflict("gate_not_passed", f"{version} failed its gate; activate it with a reason to override", "reason")
    now = rollout_at(connection)
    inforce = now.serving if traffic == 100 and mode == "serve" and now.candidate is None else now.candidate
    if inforce is not None and (inforce.version, inforce.traffic, inforce.mode) == (version, traffic, mode):
        return _told(inforce, changed=False)
    if traffic < 100 or mode == "shadow":
        if now.serving is None:
            raise Conflict("nothing_serves", "a candidate stands beside a version that serves, and none does", "traffic")
        if now.serving.version == version:
            raise Conflict("serving", f"{version} serves everyone already", "version")
    return _append(connection, row, now, by=by, reason=reason, traffic=traffic, mode=mode, traceparent=traceparent)


def promote(connection: Connection, version: str, *, by: str, reason: str) -> Activation:
    """Make the candidate `version` serve everyone.

    Raises:
        Conflict: it is no candidate.
    """
    hold_lock(connection, "activation")
    now = rollout_at(connection)
    if now.candidate is None and now.serving is not None and now.serving.version == version:
        return _told(now.serving, changed=False)
    if now.candidate is None or now.candidate.version != version:
        raise Conflict("no_candidate", f"{version} is no candidate; activate it with traffic below 100 first", "version")
    row = connection.execute(select(versions).where(versions.c.version == version)).one()
    return _append(connection, row, now, by=by, reason=reason)


def roll_back(connection: Connection, *, by: str, reason: str, generation: int | None = None) -> Activation:
    """End the candidate, or, where there is none, serve again what served before the current version.

    Args:
        connection: holds the caller's transaction.
        by: who does it.
        reason: why.
        generation: the candidate that is meant; where another activation came first, nothing is changed.

    Raises:
        Conflict: nothing served before.
    """
    hold_lock(connection, "activation")
    now = rollout_at(connection)
    if now.serving is None:
        raise Conflict("nothing_before", "no other version has served before the current one")
    if generation is not None and (now.candidate is None or now.candidate.id != generation):
        return _told(now.serving, changed=False)
    version = now.serving.version if now.candidate is not None else _served_before(connection, now.serving)
    row = connection.execute(select(versions).where(versions.c.version == version)).one()
    return _append(connection, row, now, by=by, reason=reason)


def rollout_at(connection: Connection, moment: datetime | None = None) -> Rollout:
    """What is in force, or was at `moment` (UTC, naive)."""
    rows = select(activations).order_by(activations.c.id.desc()).limit(1)
    if moment is not None:
        rows = rows.where(activations.c.activated_at <= moment)
    last = connection.execute(rows).one_or_none()
    serving = connection.execute(rows.where(_FOR_ALL)).one_or_none()
    return Rollout(serving, last if last is not None and (serving is None or last.id != serving.id) else None)


def current_activation(connection: Connection) -> Row[Any] | None:
    """The row of the version that serves, or None before the first."""
    return rollout_at(connection).serving


def _served_before(connection: Connection, serving: Row[Any]) -> str:
    before = (
        select(activations.c.version)
        .where(_FOR_ALL, activations.c.id < serving.id, activations.c.version != serving.version)
        .order_by(activations.c.id.desc())
        .limit(1)
    )
    version = connection.execute(before).scalar_one_or_none()
    if version is None:
        raise Conflict("nothing_before", "no other version has served before the current one")
    return str(version)


def _told(row: Row[Any], *, changed: bool) -> Activation:
    return Activation(row.id, row.version, row.rules_revision, row.traffic, row.mode, changed)


def _append(
    connection: Connection,
    version: Row[Any],
    before: Rollout,
    *,
    by: str,
    reason: str,
    traffic: int = 100,
    mode: Mode = "serve",
    traceparent: str | None = None,
) -> Activation:
    now = utc_now()
    row = {
        "version": version.version,
        "rules_revision": version.rules_revision,
        "traffic": traffic,
        "mode": mode,
        "activated_by": by,
        "reason": reason,
        "activated_at": now,
    }
    generation = int(connection.execute(activations.insert(), row).lastrowid)
    event = ModelActivated(
        generation=generation,
        version=version.version,
        rules_revision=version.rules_revision,
        model_url=version.model_path,
        manifest_sha256=version.manifest_sha256,
        traffic=traffic,
        mode=mode,
        activated_by=by,
        reason=reason,
        activated_at=now.replace(tzinfo=UTC),
    )
    if event.is_candidate:
        _begin_comparison(connection, generation, before.candidate, version.version)
    else:
        connection.execute(update(versions).where(versions.c.is_active).values(is_active=False))
        connection.execute(update(versions).where(versions.c.id == version.id).values(is_active=True, deployed_at=now))
    key = CANDIDATE_KEY if event.is_candidate else SERVING_KEY
    enqueue(connection, MODEL_ACTIVATED, event, key=key, traceparent=continued(traceparent))
    return Activation(generation, version.version, version.rules_revision, traffic, mode, changed=True)


def _begin_comparison(connection: Connection, generation: int, before: Row[Any] | None, version: str) -> None:
    """Remember from which question on the two versions are compared; more traffic for the same candidate goes on with it."""
    first = None
    if before is not None and before.version == version:
        of = select(comparisons.c.first_question_id).where(comparisons.c.generation == before.id)
        first = connection.execute(of).scalar_one_or_none()
    if first is None:
        first = 1 + (connection.execute(select(func.max(questions.c.id))).scalar_one() or 0)
    connection.execute(comparisons.insert(), {"generation": generation, "first_question_id": first})
