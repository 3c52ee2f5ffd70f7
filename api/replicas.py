"""What the replicas say about themselves, kept up to date from the compacted topic `replica.status`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schema.events import Envelope, ReplicaStatus
from schema.follower import Follower
from schema.settings import Settings
from schema.topics import REPLICA_STATUS

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

    def rollout(self, wanted: str | None, now: datetime | None = None) -> dict[str, Any]:
        """Each replica beside the version that it should serve. Done is when all live ones, at least one, serve it."""
        now = now or datetime.now(UTC)
        with self._lock:
            seen = sorted(self._seen.items())
        live = [one for _, one in seen if one.is_live(now)]
        return {
            "wanted_version": wanted,
            "done": bool(live) and all(one.status.version == wanted for one in live),
            "live": len(live),
            "replicas": [_shown(name, one, wanted, now) for name, one in seen],
        }


def _shown(name: str, one: Seen, wanted: str | None, now: datetime) -> dict[str, Any]:
    status = one.status
    return {
        "replica_id": name,
        "url": status.url,
        "live": one.is_live(now),
        "state": status.state,
        "wanted_version": wanted,
        "loaded_version": status.version or None,
        "rules_revision": status.rules_revision,
        "wanted_generation": status.wanted_generation,
        "loaded_generation": status.loaded_generation,
        "since": one.since,
        "seen_at": status.reported_at,
        "load_seconds": status.seconds,
        "error": status.error or None,
    }
