"""A version's card and pictures by the API, and two versions compared on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, update

from schema.tables import intent_model_versions as versions
from tests.integration.conftest import Client
from tests.running import ROOT

CARD = "/api/v1/model-tuning/models/v0/card"
RULES = "/api/v1/model-tuning/models/v0/rules"


async def test_a_card_comes_with_its_pictures(client_with_v0: Client) -> None:
    async with client_with_v0.get(CARD) as response:
        told = await response.json()
    assert response.status == 200, told
    assert told["version"] == "v0"
    assert "# intentloop v0" in told["card"]
    for name in ("scores", "reliability", "confusion", "loss"):
        assert f"](plots/{name}.svg)" in told["card"]
        assert "<svg" in told["pictures"][name]


async def test_every_rule_of_a_version_is_reported_with_what_it_did(client_with_v0: Client) -> None:
    async with client_with_v0.get(RULES) as response:
        told = await response.json()
    assert response.status == 200, told
    assert len(told["rules"]) > 100
    for one in told["rules"]:
        assert one["coverage"] >= one["overlaps"] >= one["conflicts"] >= 0
        assert one["accuracy"] == round(one["correct"] / (one["correct"] + one["incorrect"]), 4)


async def test_a_card_that_cannot_be_read_is_a_503_and_an_unknown_version_a_404(client_with_v0: Client, engine: Engine) -> None:
    for path in (CARD, RULES):
        async with client_with_v0.get(path.replace("v0", "v9")) as response:
            assert response.status == 404
    with engine.begin() as connection:
        connection.execute(update(versions).values(model_path="file:///nowhere/v0"))
    for path in (CARD, RULES):
        async with client_with_v0.get(path) as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "models_unavailable"


def test_two_versions_are_compared_on_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"question": f"明年{what}怎么样", "intents": [intent]} for what, intent in (("财运", "wealth"), ("姻缘", "marriage"))]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "intentloop", "models", "compare", "v0", "v0", "--data", str(data)]

    def said(*options: str) -> str:
        done = subprocess.run([*command, *options], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
        return done.stdout

    found = json.loads(said("--json"))
    assert found["changed"] == []
    assert found["candidate"]["rows"] == 2
    assert "0 answers changed sides" in said()
