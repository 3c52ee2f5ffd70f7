"""A rollout is done when all live replicas, at least one, serve the wanted version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.replicas import Replicas
from schema.envelope import wrap
from schema.events import ReplicaStatus
from schema.settings import Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas(Settings(kafka="127.0.0.1:1"))


def say(replicas: Replicas, name: str, version: str, *, ago: float = 1.0, state: str = "loaded", error: str = "") -> None:
    said = {"replica_id": name, "state": state, "wanted_generation": 2, "loaded_generation": 2, "version": version}
    said |= {"rules_revision": 1, "error": error, "reported_at": NOW - timedelta(seconds=ago)}
    replicas.hear(wrap(ReplicaStatus.model_validate(said), source="test"))


def told(replicas: Replicas, wanted: str | None = "v2") -> dict[str, Any]:
    activated_at = NOW.replace(tzinfo=None) - timedelta(seconds=10)
    serving = {"version": wanted, "generation": 2, "activated_at": activated_at} if wanted else None
    return replicas.rollout(serving, None, deadline=60, now=NOW)


def test_without_a_live_replica_nothing_is_done(replicas: Replicas) -> None:
    assert told(replicas)["done"] is False
    say(replicas, "a", "v2", ago=31)
    assert (told(replicas)["done"], told(replicas)["live"]) == (False, 0)


def test_one_that_still_serves_the_old_version_keeps_it_from_being_done(replicas: Replicas) -> None:
    say(replicas, "a", "v2")
    say(replicas, "b", "v1", state="load_failed", error="sha256 differs")
    assert told(replicas)["done"] is False
    assert [(r["replica_id"], r["loaded_version"], r["error"]) for r in told(replicas)["replicas"]] == [
        ("a", "v2", None),
        ("b", "v1", "sha256 differs"),
    ]
    say(replicas, "b", "v2")
    assert told(replicas)["done"] is True


@pytest.mark.parametrize(("state", "ago"), [("stopped", 1.0), ("loaded", 30.5)])
def test_one_that_stopped_or_fell_silent_does_not_count(replicas: Replicas, state: str, ago: float) -> None:
    say(replicas, "a", "v2")
    say(replicas, "b", "v1", state=state, ago=ago)
    assert (told(replicas)["done"], told(replicas)["live"]) == (True, 1)


def test_since_is_when_it_began_to_say_the_same(replicas: Replicas) -> None:
    for ago, version in ((20, "v1"), (15, "v2"), (10, "v2"), (5, "v2")):
        say(replicas, "a", version, ago=ago)
    [replica] = told(replicas)["replicas"]
    assert (replica["since"], replica["seen_at"]) == (NOW - timedelta(seconds=15), NOW - timedelta(seconds=5))


def beside(replicas: Replicas, ago: float) -> dict[str, Any]:
    serving = {"version": "v2", "generation": 2, "activated_at": NOW.replace(tzinfo=None) - timedelta(hours=1)}
    candidate = {"version": "v3", "generation": 3, "activated_at": NOW.replace(tzinfo=None) - timedelta(seconds=ago)}
    return replicas.rollout(serving, candidate, deadline=60, now=NOW)


def test_a_rollout_rolls_until_its_deadline_and_is_degraded_then_with_who_is_late(replicas: Replicas) -> None:
    say(replicas, "a", "v2")
    assert (beside(replicas, ago=59)["state"], beside(replicas, ago=59)["late"]) == ("rolling", [])
    assert (beside(replicas, ago=61)["state"], beside(replicas, ago=61)["late"]) == ("degraded", ["a"])


def test_a_replica_that_failed_degrades_a_rollout_at_once(replicas: Replicas) -> None:
    say(replicas, "a", "v1", state="load_failed", error="too large")
    assert (told(replicas)["state"], told(replicas)["late"]) == ("degraded", ["a"])
