"""What the replicas say about themselves, kept up to date from the compacted topic `replica.status`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schema.envelope import Envelope
from schema.events import ReplicaStatus
from schema.follower import Follower
from schema.settings import Settings
from schema.topics import REPLICA_STATUS

InForce = Mapping[str, Any] | None
"""An activation in force, as the API tells it."""
SEEN_WITHIN: Final = timedelta(seconds=30)
"""A replica that said nothing for longer counts as gone."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica's last report, and since when it says the same."""

    status: ReplicaStatus
    since: datetime

    def followed_by(self, status: ReplicaStatus) -> Seen:
        """This replica after one more report."""
        same = (status.state, status.version, status.error) == (self.status.state, self.status.version, self.status.error)
        return Seen(status, self.since if same else status.reported_at)

    def is_live(self, now: datetime) -> bool:
        """Whether it runs, as far as anyone can tell at `now`."""
        return self.status.state != "stopped" and now - self.status.reported_at <= SEEN_WITHIN


class Replicas:
    """Follows the topic in a thread; `rollout` may be called from any other."""

    def __init__(self, settings: Settings) -> None:
        self._seen: dict[str, Seen] = {}
        self._lock = threading.Lock()
        self._started = False
        self._follower = Follower(settings, REPLICA_STATUS, ReplicaStatus, self.hear)

    def start(self) -> None:
        """Begin to read."""
        self._started = True
        self._follower.start()

    def stop(self) -> None:
        """End the thread."""
        if self._started:
            self._follower.stop()

    def check(self) -> None:
        """Raises `TransientError` while the topic was not read to its end yet."""
        self._follower.check()

    def hear(self, envelope: Envelope[ReplicaStatus]) -> None:
        """Take one report."""
        status = envelope.data
        with self._lock:
            before = self._seen.get(status.replica_id)
            self._seen[status.replica_id] = before.followed_by(status) if before else Seen(status, status.reported_at)

    def rollout(
        self,
        serving: Mapping[str, Any] | None,
        candidate: Mapping[str, Any] | None,
        *,
        deadline: float,
        now: datetime | None = None,
    ) -> dict[str, Any]:
        """Each replica beside what it should have loaded.

        Args:
            serving: the activation in force, as the API tells it; None before the first.
            candidate: that of a candidate beside it.
            deadline: seconds that the replicas have to follow.
            now: default: now.

        The state is ``done`` when all live replicas, at least one, have loaded both; ``degraded`` when one has failed, or is
        not there after the deadline; else ``rolling``.
        """
        now = now or datetime.now(UTC)
        with self._lock:
            seen = sorted(self._seen.items())
        wanted = serving["version"] if serving is not None else None
        live = [(name, one) for name, one in seen if one.is_live(now)]
        behind = [name for name, one in live if not _follows(one.status, serving, candidate)]
        newest = candidate or serving
        late = newest is not None and now - newest["activated_at"].replace(tzinfo=UTC) > timedelta(seconds=deadline)
        failed = [name for name, one in live if _has_failed(one.status, candidate)]
        done = bool(live) and not behind and wanted is not None
        return {
            "wanted_version": wanted,
            "done": done,
            "state": "done" if done else "degraded" if late or failed else "rolling",
            "late": behind if late else failed,
            "live": len(live),
            "replicas": [_shown(name, one, wanted, now) for name, one in seen],
        }


def _follows(status: ReplicaStatus, serving: InForce, candidate: InForce) -> bool:
    """Whether it has loaded both. The version alone does not tell: it may serve since an earlier activation."""
    if serving is None or (status.version, status.loaded_generation) != (serving["version"], serving["generation"]):
        return False
    found = status.candidate
    return candidate is None or (found is not None and (found.generation, found.state) == (candidate["generation"], "loaded"))


def _has_failed(status: ReplicaStatus, candidate: InForce) -> bool:
    found = status.candidate
    beside = candidate is not None and found is not None and found.generation == candidate["generation"]
    return status.state == "load_failed" or (beside and found is not None and found.state == "load_failed")


def _shown(name: str, one: Seen, wanted: str | None, now: datetime) -> dict[str, Any]:
    status = one.status
    return {
        "replica_id": name,
        "url": status.url,
        "live": one.is_live(now),
        "state": status.state,
        "stale": status.stale,
        "wanted_version": wanted,
        "loaded_version": status.version or None,
        "rules_revision": status.rules_revision,
        "wanted_generation": status.wanted_generation,
        "loaded_generation": status.loaded_generation,
        "since": one.since,
        "seen_at": status.reported_at,
        "load_seconds": status.seconds,
        "error": status.error or None,
        "candidate": status.candidate and status.candidate.model_dump(exclude_defaults=True),
    }
