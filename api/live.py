"""What happens in the whole system as server-sent events (WHATWG HTML, "Server-sent events"), for views that stay open.

The topics are followed, from their ends, only while somebody listens. A client that is slow, or was away, misses steps and
never the last state of a thing: of each label, batch and replica the newest event waits for it; after a connection was lost it
loads what it shows anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from api.listening import Newest
from api.wire import Unavailable
from schema.envelope import Envelope
from schema.errors import TransientError
from schema.events import (
    Event,
    LabelApplied,
    ModelActivated,
    ReplicaStatus,
    TrainingFinished,
    TrainingProgress,
    TrainingRequested,
)
from schema.follower import Follower
from schema.settings import Settings
from schema.topics import (
    LABEL_APPLIED,
    MODEL_ACTIVATED,
    REPLICA_STATUS,
    TRAINING_FINISHED,
    TRAINING_PROGRESS,
    TRAINING_REQUESTED,
    Topic,
)

log = logging.getLogger(__name__)
KAFKA_SECONDS: Final = 5.0
PROGRESS_SECONDS: Final = 1.0
"""So often the way to the next training is looked up, where labels or trainings changed it."""
FOLLOWED: Final[tuple[Topic, ...]] = (
    LABEL_APPLIED,
    TRAINING_REQUESTED,
    TRAINING_PROGRESS,
    TRAINING_FINISHED,
    MODEL_ACTIVATED,
    REPLICA_STATUS,
)
Key = tuple[str, str]
"""The name of an event, and what it is about."""
Told = dict[str, Any]


class Live:
    """Everyone who listens, and the followers that they share.

    Args:
        settings: where Kafka is.
        progress: looks up how far the next training is.
    """

    def __init__(self, settings: Settings, progress: Callable[[], Awaitable[Told]]) -> None:
        self._settings = settings
        self._progress = progress
        self._clients: set[Newest[Key, Told]] = set()
        self._followers: list[Follower[Any]] = []
        self._replicas: dict[str, Told] = {}
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closing = False

    def clients(self) -> int:
        """How many listen."""
        return len(self._clients)

    def close(self) -> None:
        """Let all streams end soon."""
        self._closing = True

    async def frames(self) -> AsyncGenerator[bytes]:
        """The body of one client's stream.

        Raises:
            Unavailable: before the first frame, where the topics cannot be read.
        """
        async with self._listening() as client:
            async for frame in client.frames(_frame, lambda: self._closing):
                yield frame

    def hear(self, envelope: Envelope[Any], loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Tell everyone of one event; may be called from any thread."""
        told = tell(envelope.data)
        if told is None:
            return
        (name, about), data = told
        if name == "rollout":
            if self._replicas.get(about) == data:
                return  # they report every few seconds
            self._replicas[about] = data
        for client in tuple(self._clients):
            client.tell((name, about), data)
        if name in ("label", "batch") and loop is not None:
            loop.call_soon_threadsafe(self._changed.set)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Newest[Key, Told]]:
        client: Newest[Key, Told] = Newest(asyncio.get_running_loop())
        try:
            async with self._turn:
                self._clients.add(client)
                followers = await self._following()
            for follower in followers:
                if not await asyncio.to_thread(follower.caught_up.wait, KAFKA_SECONDS):
                    raise Unavailable("kafka_unavailable", "the topics cannot be read")
            yield client
        finally:
            async with self._turn:
                self._clients.discard(client)
                if not self._clients:
                    await self._stop()

    async def _following(self) -> list[Follower[Any]]:
        """The followers, started where there are none, or where one has died."""
        if self._followers and all(follower.is_alive() for follower in self._followers):
            return self._followers
        await self._stop()
        loop = asyncio.get_running_loop()

        def hear(envelope: Envelope[Any]) -> None:
            self.hear(envelope, loop)

        self._followers = [Follower(self._settings, topic, topic.event, hear, from_end=True) for topic in FOLLOWED]
        for follower in self._followers:
            follower.start()
        self._looking = asyncio.create_task(self._look())
        return self._followers

    async def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        followers, self._followers = self._followers, []
        await asyncio.gather(*(asyncio.to_thread(follower.stop) for follower in followers))
        self._replicas.clear()

    async def _look(self) -> None:
        """Tell how far the next training is whenever that may have changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                told = await self._progress()
            except TransientError as error:
                log.warning("the way to the next training cannot be told: %s", error)
            else:
                for client in tuple(self._clients):
                    client.tell(("progress", ""), told)
            await asyncio.sleep(PROGRESS_SECONDS)


def tell(event: Event) -> tuple[Key, Told] | None:
    """What the clients are told of `event`, small enough to patch a view with it."""
    match event:
        case LabelApplied():
            return ("label", str(event.question_id)), _of(event, "question_id", "correct_intent", "labeler_id", "takes_back")
        case TrainingRequested():
            return ("batch", event.batch_id), {"batch_id": event.batch_id, "state": "requested"}
        case TrainingProgress():
            shown = _of(event, "batch_id", "stage", "step", "total_steps", "loss", "seconds_left")
            return ("batch", event.batch_id), {**shown, "state": "training"}
        case TrainingFinished():
            return ("batch", event.batch_id), {**_of(event, "batch_id", "version", "reason"), "state": event.outcome}
        case ModelActivated():
            shown = _of(event, "generation", "version", "traffic", "mode", "activated_by", "reason")
            return ("model", str(event.generation)), shown
        case ReplicaStatus():
            shown = _of(event, "replica_id", "state", "version", "loaded_generation", "wanted_generation", "error")
            candidate = event.candidate and event.candidate.model_dump()
            return ("rollout", event.replica_id), {**shown, "candidate": candidate}
    return None


def _of(event: Event, *names: str) -> Told:
    return {name: getattr(event, name) for name in names}


def _frame(key: Key, told: Told) -> bytes:
    return f"event: {key[0]}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n".encode()
