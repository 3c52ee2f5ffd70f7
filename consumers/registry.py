"""Known versions: an artefact that was published becomes a row; the built-in one serves from the first start."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select

from inference.artefact import Manifest, manifest_sha256, publish, read_manifest
from schema.activations import activate, current_activation
from schema.database import hold_lock, in_transaction
from schema.errors import NotFound
from schema.settings import Settings
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_model_versions as versions
from schema.tables import utc_now

MODEL_NAME = "intentloop"


def register_version(
    connection: Connection,
    manifest: Manifest,
    *,
    url: str,
    sha256: str,
    gate_passed: bool,
    metrics: dict[str, Any],
    batch_id: str | None = None,
    question_count: int = 0,
    description: str = "",
) -> bool:
    """Add a row for a published artefact; returns False where the version is known already."""
    if connection.execute(select(versions.c.id).where(versions.c.version == manifest.version)).first():
        return False
    row = {
        "version": manifest.version,
        "model_name": MODEL_NAME,
        "model_path": url,
        "base_model": manifest.base_model,
        "parent_version": manifest.parent,
        "training_batch_id": batch_id,
        "question_count": question_count,
        "accuracy": metrics.get("accuracy"),
        "metrics": metrics,
        "gate_passed": gate_passed,
        "rules_revision": manifest.rules_revision,
        "manifest_sha256": sha256,
        "description": description[:500],
        "created_at": utc_now(),
    }
    connection.execute(versions.insert(), row)
    return True


def artefact_of(connection: Connection, version: str) -> tuple[str, str]:
    """The URL of a version's artefact, and its manifest's SHA-256.

    Raises:
        NotFound: no such version.
    """
    chosen = select(versions.c.model_path, versions.c.manifest_sha256).where(versions.c.version == version)
    row = connection.execute(chosen).one_or_none()
    if row is None:
        raise NotFound("unknown_version", f"there is no version {version}", "version")
    return row.model_path, row.manifest_sha256


def register_builtin(settings: Settings, engine: Engine, folder: Path) -> None:
    """Publish the built-in artefact in `folder`, and activate it where nothing was ever activated. May be repeated.

    Raises:
        ArtefactError: the artefact store cannot be written.
        TransientError: the database is away.
    """
    url = publish(folder, settings.models, signing_key=settings.signing_key.get_secret_value())
    manifest = read_manifest(folder)
    in_transaction(engine, partial(_register_builtin, manifest=manifest, url=url, sha256=manifest_sha256(folder)))


def _register_builtin(connection: Connection, manifest: Manifest, url: str, sha256: str) -> None:
    hold_lock(connection, "activation")
    register_version(
        connection, manifest, url=url, sha256=sha256, gate_passed=True, metrics={}, description="built in, from the seed corpus"
    )
    if current_activation(connection) is None:
        activate(connection, manifest.version, by="migrate", reason="first start")


def next_version(connection: Connection) -> str:
    """The next free name, ``v1``, ``v2`` …: above all versions and all that running batches hold."""
    hold_lock(connection, "activation")
    taken = [
        *connection.execute(select(versions.c.version)).scalars(),
        *connection.execute(select(batches.c.model_version).where(batches.c.model_version.is_not(None))).scalars(),
    ]
    numbers = [int(match[1]) for name in taken if (match := re.fullmatch(r"v(\d+)", name))]
    return f"v{max(numbers, default=0) + 1}"


def next_rules_revision(connection: Connection) -> int:
    """One above all rules revisions of all versions."""
    revisions = connection.execute(select(versions.c.rules_revision)).scalars()
    return max(revisions, default=0) + 1
