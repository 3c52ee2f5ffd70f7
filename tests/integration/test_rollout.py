"""A candidate beside the serving version: who gets it, what is compared, what ends it; on real processes."""

from __future__ import annotations

import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, func, select

from consumers.registry import register_version
from inference.artefact import manifest_sha256, publish, read_manifest, seal
from intentloop import BUILTIN
from local.ports import free_port
from schema.activations import activate, rollout_at
from schema.database import in_transaction
from schema.errors import Conflict
from schema.events import Classification, Consent, QuestionAsked
from schema.producer import EventProducer
from schema.settings import Settings
from schema.tables import intent_model_activations as activations
from schema.tables import intent_user_questions as questions
from schema.topics import QUESTION_ASKED
from tests.integration.test_replica import post, start_with_v0
from tests.running import Process, running, wait_until

API = "/api/v1/model-tuning"


def get(url: str) -> Any:
    import json

    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def add_version(settings: Settings, engine: Engine, folder: Path, version: str, *, bar: float | None = None) -> None:
    """v0 under another name; with `bar` for every intent it answers otherwise."""
    shutil.copytree(BUILTIN, folder)
    before = read_manifest(folder)
    fields = before.model_dump(exclude={"files"}) | {"version": version, "parent": "v0"}
    manifest = seal(folder, fields | ({"thresholds": dict.fromkeys(before.labels, bar)} if bar else {}))
    url = publish(folder, settings.models)
    told = {"gate_passed": True, "metrics": {}, "batch_id": None}
    register = partial(register_version, manifest=manifest, url=url, sha256=manifest_sha256(folder), **told)
    in_transaction(engine, lambda connection: register(connection))


@contextmanager
def a_system(settings: Settings, engine: Engine, *names: str) -> Iterator[tuple[str, str, str]]:
    """Api, trainer, streams and two replicas; gives the URL of the API and of the replicas' classify."""
    start_with_v0(settings, engine)
    second = settings.model_copy(update={"replica_port": free_port()})
    with (
        running(settings, "api", "trainer", "replica", *names) as processes,
        Process(second, "replica", second.replica_port) as b,
    ):
        b.ready()
        yield processes["api"].url + API, f"{processes['replica'].url}/v1/classify", f"{b.url}/v1/classify"


def done(api: str, version: str, candidate: str | None = None, live: int = 2) -> Callable[[], bool]:
    """Whether the rollout of these is done on `live` replicas."""

    def look() -> bool:
        told = get(f"{api}/rollout")
        beside = told["candidate"] and told["candidate"]["version"]
        return bool(told["done"] and told["live"] == live and (told["wanted_version"], beside) == (version, candidate))

    return look


def ask(replica: str, question: str, user: str) -> dict[str, Any]:
    status, said = post(replica, {"question": question, "user_id": user})
    assert status == 200, said
    return dict(said)


TEXTS = [
    f"我在{city}{what}怎么样" for city in ("北京", "上海", "广州", "成都", "杭州") for what in ("财运", "工作", "感情", "身体")
]


def test_a_canary_is_compared_promoted_and_rolled_back(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"guard_answers": 10_000})  # people decide here, not the guard
    add_version(settings, engine, tmp_path / "v1", "v1", bar=0.2)
    with a_system(settings, engine, "streams") as (api, a, b):
        status, told = post(f"{api}/models/v1/activate", {"traffic": 40, "reason": "a try"})
        assert (status, told["traffic"], told["mode"], told["changed"]) == (200, 40, "serve", True)
        assert post(f"{api}/models/v1/activate", {"traffic": 40, "reason": "a try"})[1]["changed"] is False
        wait_until(done(api, "v0", "v1"), "both replicas have the candidate")

        answers = {(user, text): ask(a if user % 2 else b, text, f"user {user}") for user in range(50) for text in TEXTS[:4]}
        by_user = {user: {answers[user, text]["model_version"] for text in TEXTS[:4]} for user in range(50)}
        assert all(len(versions) == 1 for versions in by_user.values()), "a user stays with one version"
        assert 8 <= sum(versions == {"v1"} for versions in by_user.values()) <= 32, "about 40 % of the users"
        for user in range(50):
            assert {ask(b if user % 2 else a, TEXTS[0], f"user {user}")["model_version"]} == by_user[user], "on any replica"

        _store_and_label(settings, engine, api, answers)
        wait_until(lambda: (get(f"{api}/rollout")["comparison"] or {}).get("pairs") == 20, "labelled questions are compared")
        comparison = get(f"{api}/rollout")["comparison"]
        assert comparison["verdict"] in {"unknown", "worse"}, "people agreed with v0, and v1 says more"
        assert ("more would tell" in comparison["says"]) is (comparison["verdict"] == "unknown")
        assert comparison["candidate"]["answered"] >= 32
        assert comparison["agreement"]["compared"] >= 32
        assert comparison["candidate"]["p99_ms"] > 0
        assert comparison["serving"]["accuracy"]["value"] == 1.0, "people agreed with v0 here"
        assert set(get(f"{api}/rollout")["llm_call_rate"]) == {"v0", "v1"}

        assert post(f"{api}/models/v0/promote", {})[0] == 409, "only a candidate is promoted"
        status, told = post(f"{api}/models/v1/promote", {"reason": "good enough"})
        assert (status, told["traffic"]) == (200, 100)
        wait_until(done(api, "v1"), "both serve it")
        assert {ask(a, TEXTS[0], f"user {user}")["model_version"] for user in range(20)} == {"v1"}
        status, told = post(f"{api}/models/rollback", {"reason": "after all"})
        assert (status, told["version"]) == (200, "v0")
        wait_until(done(api, "v0"), "both serve v0 again")
        history = get(f"{api}/models/activations")["activations"]
        assert [(one["version"], one["traffic"]) for one in history] == [("v0", 100), ("v1", 100), ("v1", 40), ("v0", 100)]
        assert [one["reason"] for one in history][:3] == ["after all", "good enough", "a try"]
        then = get(f"{api}/models/at?time={quote(history[2]['activated_at'])}")
        assert (then["version"], then["candidate"]["version"], then["candidate"]["reason"]) == ("v0", "v1", "a try")


def _store_and_label(settings: Settings, engine: Engine, api: str, answers: dict[tuple[int, str], dict[str, Any]]) -> None:
    """What the fortune API does with the answers, and people who find v0's right."""
    names = set(Classification.model_fields)
    with EventProducer(settings, source="fortune-api") as producer:
        for (user, text), said in answers.items():
            classification = Classification.model_validate({name: said[name] for name in names & said.keys()})
            consent = Consent(training=True)
            event = QuestionAsked(question=text, user_id=f"user {user}", consent=consent, classification=classification)
            producer.send(QUESTION_ASKED, event, key=f"user {user}")
    right = {text: said["intents"] for (_, text), said in answers.items() if said["model_version"] == "v0"}

    def stored() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(select(func.count()).select_from(questions)).scalar_one() == len(answers))

    wait_until(stored, "the answers are stored")
    with engine.connect() as connection:
        by_candidate = select(questions.c.id, questions.c.question).where(questions.c.model_version == "v1").limit(20)
        chosen = connection.execute(by_candidate).all()
    for row in chosen:
        status, told = post(f"{api}/questions/{row.id}/label", {"correct_intent": right[row.question], "labeler_id": "anna"})
        assert status == 202, told


def test_a_shadow_never_answers_and_the_guard_ends_it_with_a_reason(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    add_version(settings, engine, tmp_path / "v1", "v1", bar=0.0001)  # three intents for nearly everything
    with a_system(settings, engine) as (api, a, b):
        status, told = post(f"{api}/models/v1/activate", {"mode": "shadow", "reason": "to see"})
        assert (status, told["mode"]) == (200, "shadow")
        wait_until(done(api, "v0", "v1"), "both replicas have it")
        generation = told["generation"]
        asked = 0

        def ended() -> bool:
            nonlocal asked
            said = ask(a if asked % 2 else b, TEXTS[asked % len(TEXTS)], f"user {asked}")
            assert said["model_version"] == "v0"
            asked += 1
            return get(f"{api}/rollout")["candidate"] is None

        wait_until(ended, "the guard ends it", 60)
        [newest, before, _] = get(f"{api}/models/activations")["activations"]
        assert (newest["version"], newest["activated_by"], before["generation"]) == ("v0", "guard", generation)
        assert "v1: it agrees on" in newest["reason"]
        wait_until(done(api, "v0"), "both replicas dropped it")


def test_a_replica_that_cannot_load_the_candidate_is_named(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    add_version(settings, engine, tmp_path / "v1", "v1", bar=0.2)
    (Path(settings.models.removeprefix("file://")) / "v1" / "model.onnx").write_bytes(b"")
    with a_system(settings, engine) as (api, a, b):
        assert post(f"{api}/models/v1/activate", {"traffic": 50})[0] == 200
        wait_until(lambda: get(f"{api}/rollout")["state"] == "degraded", "the rollout is degraded")
        told = get(f"{api}/rollout")
        assert told["late"] != []
        assert all("model.onnx" in one["candidate"]["error"] for one in told["replicas"] if one["candidate"])
        assert {ask(url, TEXTS[0], f"user {user}")["model_version"] for user in range(10) for url in (a, b)} == {"v0"}


def test_two_operators_at_once_leave_one_order(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        add_version(settings, engine, tmp_path / version, version, bar=0.3)
    with a_system(settings, engine) as (api, _, _):
        start = threading.Barrier(2)

        def operator(version: str) -> None:
            for turn in range(10):
                start.wait(20)
                if turn % 2:
                    post(f"{api}/models/{version}/activate", {"reason": f"turn {turn}"})
                else:
                    post(f"{api}/models/{version}/activate", {"traffic": 30, "reason": f"turn {turn}"})

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(operator, ("v1", "v2")))
        with engine.connect() as connection:
            order = connection.execute(select(activations.c.id, activations.c.version).order_by(activations.c.id)).all()
            last = rollout_at(connection)
        assert [row.id for row in order] == list(range(order[0].id, order[0].id + len(order))), "one order, without gaps"
        assert last.serving is not None
        candidate = last.candidate.version if last.candidate is not None else None
        wait_until(done(api, last.serving.version, candidate), "both replicas end at the last activation")
        generations = {one["loaded_generation"] for one in get(f"{api}/rollout")["replicas"]}
        assert generations == {last.serving.id}


def test_a_candidate_gives_way_to_any_other_activation(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    start_with_v0(settings, engine)
    for version in ("v1", "v2"):
        add_version(settings, engine, tmp_path / version, version)

    def now() -> tuple[str | None, str | None]:
        with engine.connect() as connection:
            found = rollout_at(connection)
        return found.serving and found.serving.version, found.candidate and found.candidate.version

    def do(version: str, **how: Any) -> None:
        in_transaction(engine, lambda connection: activate(connection, version, by="test", reason="test", **how))

    do("v1", traffic=10)
    assert now() == ("v0", "v1")
    do("v2", mode="shadow")
    assert now() == ("v0", "v2")
    do("v1")
    assert now() == ("v1", None)
    with pytest.raises(Conflict, match="serves everyone already"):
        do("v1", traffic=10)
    do("v2", traffic=10)
    do("v1")
    assert now() == ("v1", None), "the serving version for everyone again: the candidate is gone"
