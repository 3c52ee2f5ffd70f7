"""A version that failed its gate is judged again after held-out labels were corrected."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update

from consumers.registry import register_version
from consumers.trainer import Trainer
from inference.artefact import manifest_sha256, publish, read_manifest, seal
from intentloop import BUILTIN
from schema.activations import current_activation
from schema.database import in_transaction
from schema.settings import Settings
from schema.tables import intent_model_training_batches as batches
from schema.tables import intent_model_versions as versions
from schema.tables import intent_user_questions as questions
from schema.text import is_held_out
from tests.integration.conftest import Client
from tests.integration.test_consumers import add_labelled

MODELS = "/api/v1/model-tuning/models"
ASKED = next(text for n in range(100) if is_held_out(text := f"请问门口的{chr(0x4E00 + n)}树是什么五行"))


def add_rejected(settings: Settings, engine: Engine, folder: Path, *, bar: float | None = None) -> None:
    """v0 under the name v1, as a training left it that the gate rejected; with `bar` for every intent it is a bad one."""
    shutil.copytree(BUILTIN, folder)
    before = read_manifest(folder)
    fields = before.model_dump(exclude={"files"}) | {"version": "v1", "parent": "v0"}
    manifest = seal(folder, fields | ({"thresholds": dict.fromkeys(before.labels, bar)} if bar else {}))
    url = publish(folder, settings.models)
    told = {"gate_passed": False, "metrics": {}, "batch_id": "b-first"}
    register = partial(register_version, manifest=manifest, url=url, sha256=manifest_sha256(folder), **told)
    in_transaction(engine, lambda connection: register(connection))
    in_transaction(engine, lambda connection: add_labelled(connection, [(ASKED, ["nayin"])]))
    used = update(questions).values(training_status="used", training_batch_id="b-first")
    in_transaction(engine, lambda connection: connection.execute(used))


async def rescored(client: Client, settings: Settings, engine: Engine) -> dict[str, Any]:
    """Ask for v1 to be judged again, and let a trainer do it; returns the batch's row."""
    async with client.post(f"{MODELS}/v1/rescore", json={"reason": "labels were corrected"}) as response:
        told = await response.json()
    assert response.status == 202, told
    Trainer(engine, settings).train(told["batch_id"])
    with engine.connect() as connection:
        return dict(connection.execute(select(batches).where(batches.c.batch_id == told["batch_id"])).mappings().one())


async def test_a_version_is_judged_on_the_labels_of_today_and_serves_once_it_passes(
    client_with_v0: Client, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    add_rejected(settings, engine, tmp_path / "v1")
    batch = await rescored(client_with_v0, settings, engine)
    assert batch["training_status"] == "completed", batch["error_message"]
    assert (batch["model_version"], batch["description"]) == ("v1", "v1 judged again: labels were corrected")
    wrong = batch["metrics"]["candidate"]["per_intent"]
    with engine.connect() as connection:
        current = current_activation(connection)
        version = connection.execute(select(versions).where(versions.c.version == "v1")).one()
        learned = connection.execute(select(questions.c.training_model_version)).scalar_one()
    assert current is not None
    assert (current.version, current.activated_by) == ("v1", "gate")
    assert (version.gate_passed, learned) == (True, "v1")
    async with client_with_v0.post(f"{MODELS}/v1/rescore", json={}) as response:
        assert response.status == 409, "it serves: nothing to judge it against"

    async with client_with_v0.post(f"{MODELS}/rollback", json={}) as response:
        assert response.status == 200
    corrected = update(questions).values(correct_intent=["general"])
    in_transaction(engine, lambda connection: connection.execute(corrected))
    right = (await rescored(client_with_v0, settings, engine))["metrics"]["candidate"]["per_intent"]
    assert right["nayin"]["support"] == wrong["nayin"]["support"] - 1
    assert right["general"]["support"] == wrong["general"]["support"] + 1


async def test_a_version_that_is_worse_stays_rejected_with_the_reason(
    client_with_v0: Client, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    add_rejected(settings, engine, tmp_path / "v1", bar=0.001)
    batch = await rescored(client_with_v0, settings, engine)
    assert batch["training_status"] == "rejected"
    assert "macro-F1" in batch["error_message"] or "golden" in batch["error_message"]
    with engine.connect() as connection:
        current = current_activation(connection)
        assert not connection.execute(select(versions.c.gate_passed).where(versions.c.version == "v1")).scalar_one()
        assert connection.execute(select(questions.c.training_model_version)).scalar_one() is None
    assert current is not None
    assert current.version == "v0"


async def test_an_unknown_version_is_a_404(client_with_v0: Client) -> None:
    async with client_with_v0.post(f"{MODELS}/v9/rescore", json={}) as response:
        assert response.status == 404
