"""A replica on a real Kafka: what it serves, what it does with an activation that it cannot serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine

from consumers.registry import register_builtin
from consumers.relay import publish_outbox
from inference.artefact import manifest_sha256, publish, read_manifest, seal
from intentloop import BUILTIN
from schema.database import in_transaction
from schema.envelope import decode
from schema.events import ModelActivated, ReplicaStatus
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import MODEL_ACTIVATED, REPLICA_STATUS
from tests.running import ROOT, read_all, running, wait_until


def start_with_v0(settings: Settings, engine: Engine) -> None:
    """What migrate and the relay do: v0 is registered and its activation is on Kafka."""
    register_builtin(settings, engine, BUILTIN)
    with EventProducer(settings, source="test") as producer:
        in_transaction(engine, lambda connection: publish_outbox(connection, producer))


def successor(settings: Settings, folder: Path, version: str) -> tuple[str, str]:
    """A published artefact `version` with v0's files; returns its URL and the manifest's hash."""
    shutil.copytree(BUILTIN, folder)
    manifest = read_manifest(folder)
    seal(folder, manifest.model_dump(exclude={"files"}) | {"version": version, "parent": "v0"})
    return publish(folder, settings.models), manifest_sha256(folder)


def activate(settings: Settings, generation: int, version: str, url: str, sha256: str) -> None:
    event = ModelActivated(
        generation=generation,
        version=version,
        rules_revision=0,
        model_url=url,
        manifest_sha256=sha256,
        activated_by="test",
        reason="test",
        activated_at=datetime.now(UTC),
    )
    with EventProducer(settings, source="test") as producer:
        producer.send(MODEL_ACTIVATED, event, key="serving").result(10)


def post(url: str, body: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def reports(settings: Settings, kafka: str) -> list[ReplicaStatus]:
    return [decode(ReplicaStatus, r.value()).data for r in read_all(kafka, REPLICA_STATUS.name(settings.topic_prefix))]


def test_it_answers_and_names_what_is_wrong_with_a_request(settings: Settings, engine: Engine) -> None:
    start_with_v0(settings, engine)
    with running(settings, "replica") as processes:
        url = f"{processes['replica'].url}/v1/classify"
        status, said = post(url, {"question": "明年财运怎么样", "asked_at": "2026-12-31T16:30:00Z"})
        assert status == 200
        assert (said["model_version"], said["time_intent"]["target_years"]) == ("v0", [2028]), "it is 2027 in Shanghai by then"
        names = "intents confidence rule_types time_intent keywords matched_rules method response_time_ms is_fortune_related"
        names += " is_ambiguous reasoning model_version rules_revision replica_id"
        assert set(names.split()) <= said.keys()
        status, said = post(f"{url}/batch", {"questions": [{"question": "我的用神是什么"}, {"question": "今天天气真好"}]})
        assert (status, len(said["answers"])) == (200, 2)
        for body, code, field in (
            ({"question": ""}, 422, "question"),
            ({"question": "财运", "colour": "red"}, 422, "colour"),
            ({"question": 7}, 422, "question"),
            (b"{", 400, None),
        ):
            status, said = post(url, body)
            assert (status, said["success"], said["error"]["field"]) == (code, False, field)


def test_a_failed_load_keeps_the_old_model_and_says_why(settings: Settings, engine: Engine, kafka: str, tmp_path: Path) -> None:
    start_with_v0(settings, engine)
    url, sha256 = successor(settings, tmp_path / "bad", "bad")
    broken = Path(url.removeprefix("file://")) / "model.onnx"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    with running(settings, "replica") as processes:
        classify = f"{processes['replica'].url}/v1/classify"
        activate(settings, 2, "bad", url, sha256)
        wait_until(lambda: any(r.state == "load_failed" for r in reports(settings, kafka)), "the failure is reported")
        [failed] = [r for r in reports(settings, kafka) if r.state == "load_failed"]
        assert (failed.wanted_generation, failed.loaded_generation, failed.version) == (2, 1, "v0")
        assert "model.onnx" in failed.error
        assert post(classify, {"question": "事业如何"})[1]["model_version"] == "v0"
        url, sha256 = successor(settings, tmp_path / "good", "good")
        activate(settings, 3, "good", url, sha256)
        wait_until(lambda: post(classify, {"question": "事业如何"})[1]["model_version"] == "good", "the next one is served")
        activate(settings, 2, "bad", url, sha256)
        activate(settings, 4, "missing", f"{settings.models}/missing", "0" * 64)
        wait_until(lambda: any(r.wanted_generation == 4 for r in reports(settings, kafka)), "the last is reported")
        assert [r.wanted_generation for r in reports(settings, kafka)].count(2) == 1, "an older generation is ignored"
        assert post(classify, {"question": "事业如何"})[1]["model_version"] == "good"


def test_no_request_fails_while_models_are_swapped(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """Four clients ask without a pause through five reloads: every answer is 200, and from a version that was activated."""
    start_with_v0(settings, engine)
    stop, answers = threading.Event(), []
    with running(settings, "replica") as processes:
        classify = f"{processes['replica'].url}/v1/classify"

        def ask() -> None:
            while not stop.is_set():
                answers.append(post(classify, {"question": "今年事业和财运哪个好"}))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for generation in range(2, 7):
                version = f"w{generation}"
                activate(settings, generation, version, *successor(settings, tmp_path / version, version))
                seen = len(answers)
                wait_until(lambda: any(a[1].get("model_version") == version for a in answers[seen:]), f"{version} serves")  # noqa: B023
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert {status for status, _ in answers} == {200}
    assert {said["model_version"] for _, said in answers} == {"v0", "w2", "w3", "w4", "w5", "w6"}


def test_the_serving_processes_never_import_torch() -> None:
    """torch and transformers are not even installed where replicas, api and streams run."""
    code = "import sys, api.app, consumers.replica, streams.app; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def spoil(folder: Path, how: str) -> None:
    """Damage a published artefact."""
    model = folder / "model.onnx"
    if how == "tampered":
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    elif how == "truncated":
        model.write_bytes(model.read_bytes()[:1000])
    elif how == "half-written":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes() + b"more than the manifest says")


def test_whatever_is_wrong_with_an_artefact_the_old_one_serves_on_and_the_memory_comes_back(
    settings: Settings, engine: Engine, kafka: str, tmp_path: Path
) -> None:
    start_with_v0(settings, engine)
    faults = ["tampered", "truncated", "half-written", "larger"] * 2
    with running(settings, "replica") as processes:
        replica = processes["replica"]
        classify = f"{replica.url}/v1/classify"
        before = 0
        for number, how in enumerate(faults):
            url, sha256 = successor(settings, tmp_path / str(number), f"bad-{number}")
            spoil(Path(url.removeprefix("file://")), how)
            activate(settings, number + 2, f"bad-{number}", url, sha256)
            wait_until(lambda: reports(settings, kafka)[-1].wanted_generation == number + 2, f"{how} is reported")  # noqa: B023
            told = reports(settings, kafka)[-1]
            assert (told.state, told.loaded_generation, "model.onnx" in told.error) == ("load_failed", 1, True), how
            assert post(classify, {"question": "事业如何"})[1]["model_version"] == "v0"
            if number == len(faults) // 2 - 1:
                before = psutil.Process(replica.child.pid).memory_info().rss
        assert psutil.Process(replica.child.pid).memory_info().rss < before + (16 << 20)
        assert not list((settings.var / "cache").glob("part-*")), "nothing half-fetched is left"
