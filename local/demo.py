"""``intentloop demo``: the whole loop once, on real servers, with traffic going on; then a report of what happened."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import Engine, make_url

from local import measures
from local.ports import free_port
from local.report import Report
from local.steps import Steps
from local.supervisor import Service
from local.system import REPLICAS, System, ended_by_signals, require_ports, serve_until_interrupted
from local.traffic import Traffic, demo_questions, send_broken, summary
from schema.batches import ENDED
from schema.database import open_engine
from schema.envelope import Envelope
from schema.errors import TransientError
from schema.events import ReplicaStatus
from schema.follower import Follower
from schema.privacy import mask
from schema.producer import EventProducer
from schema.settings import Settings
from schema.text import text_hash
from schema.topics import QUESTION_ASKED, REPLICA_STATUS

RATE: Final = 30.0
"""Questions a second."""
PAGE: Final = 50
"""Labels between two looks at whether a training has begun."""
MAX_TRAININGS: Final = 3
PATIENCE: Final = 240.0
"""Seconds that any single wait may take."""
AFTER_RELOAD: Final = 3.0
"""Seconds of traffic before and after the reload that are counted as during it."""


def run_demo(settings: Settings, builtin: Path, *, exit_after: bool) -> int:
    """Run the demo; without `exit_after` serve on until Ctrl-C. Returns 0 if every check of the report holds, else 1.

    Raises:
        ConfigError: the system cannot be started.
        TransientError: something did not happen in time.
    """
    console = Console(stderr=True)
    steps = Steps(console)
    require_ports(settings)
    began = time.monotonic()
    given = fresh(settings)
    with ended_by_signals(), System(given, builtin, steps) as system:
        sample = _fortune_api(system)
        system.supervisor.start(sample)
        system.supervisor.wait_ready()
        engine = open_engine(system.settings.database_url.get_secret_value())
        try:
            report = asyncio.run(Demo(system, sample.url, engine, steps, began).run())
        finally:
            engine.dispose()
        path = given.var / "report.json"
        report.write(path)
        Console(file=sys.stdout, width=120 if not sys.stdout.isatty() else None).print(report.table())
        console.print(f"report: {path}", highlight=False)
        good = all(report.checks().values())
        if not exit_after:
            console.print(f"The API serves at {system.api_url} until Ctrl-C.", highlight=False)
            serve_until_interrupted(system)
        return 0 if good else 1
    return 0


def fresh(settings: Settings) -> Settings:
    """`settings` for a system with nothing in it: the folder ``demo`` in var, on given servers names of its own."""
    var = settings.var / "demo"
    if var.exists():
        shutil.rmtree(var)
    changes: dict[str, Any] = {"var": var}
    name = f"demo{uuid.uuid4().hex[:8]}"
    if settings.kafka:
        changes["topic_prefix"] = f"{name}."
    if given := settings.database_url.get_secret_value():
        changes["database_url"] = SecretStr(make_url(given).set(database=name).render_as_string(hide_password=False))
    return settings.model_copy(update=changes)


def _fortune_api(system: System) -> Service:
    """The sample fortune API as a service of `system`."""
    port = free_port()
    like = system.service("fortune-api", port)
    command = (sys.executable, "-m", "local.fortune_api", str(port), *system.replica_urls)
    return Service(like.name, command, like.environ, like.url, like.log)


@dataclass
class Demo:
    """One run of the demo.

    Attributes:
        fortune_url: the sample fortune API.
        began: ``time.monotonic()`` when the demo was started.
        loaded: each replica's first report of what it serves.
        labelled: the hashes of the texts that were labelled.
    """

    system: System
    fortune_url: str
    engine: Engine
    steps: Steps
    began: float
    loaded: dict[str, ReplicaStatus] = field(default_factory=dict)
    labelled: set[bytes] = field(default_factory=set)

    async def run(self) -> Report:
        """The demo's course."""
        follower = Follower(self.system.settings, REPLICA_STATUS, ReplicaStatus, self._hear)
        follower.start()
        try:
            async with ClientSession(timeout=ClientTimeout(total=10)) as http, self._tended():
                traffic = Traffic(http, self.fortune_url, demo_questions(), RATE)
                asking = asyncio.create_task(traffic.run())
                try:
                    await self._ask_all(traffic)
                    version = await self._improve(http)
                    window = await self._reload(version) if version else (0.0, 0.0)
                finally:
                    traffic.stopping.set()
                    await asking
                with self.steps.step("last events are stored"):
                    broken = await asyncio.to_thread(self._send_broken)
                    await self._settled(traffic, broken)
                return await asyncio.to_thread(self._report, traffic, broken, version, window)
        finally:
            await asyncio.to_thread(follower.stop)

    def _hear(self, envelope: Envelope[ReplicaStatus]) -> None:
        """Keep each replica's first report of a version that it serves."""
        said = envelope.data
        before = self.loaded.get(said.replica_id)
        if said.state == "loaded" and (before is None or before.loaded_generation < said.loaded_generation):
            self.loaded[said.replica_id] = said

    @asynccontextmanager
    async def _tended(self) -> AsyncIterator[None]:
        """Inside, what dies is started again."""

        async def tend() -> None:
            while True:
                self.system.supervisor.tend()
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as tasks:
            tending = tasks.create_task(tend())
            yield
            tending.cancel()

    async def _ask_all(self, traffic: Traffic) -> None:
        """Let every question of the demo be asked once and stored."""
        wanted = len(traffic.questions)
        with self.steps.step(f"{wanted} questions asked and stored") as advance:

            async def stored() -> bool:
                found = await asyncio.to_thread(measures.stored_ids, self.engine)
                advance(min(len(found), wanted), wanted)
                return len(found) >= wanted

            await self._until(stored, "the questions are stored")

    async def _improve(self, http: ClientSession) -> str | None:
        """Label until a training is started, wait for its end; again if the gate rejects. Returns the version that passed."""
        for number in range(1, MAX_TRAININGS + 1):
            batch_id = await self._label(http, number)
            batch = await self._trained(http, batch_id)
            if batch["training_status"] == "completed":
                return str(batch["model_version"])
            reason = batch["error_message"] or "; ".join((batch["metrics"] or {}).get("gate", {}).get("reasons", []))
            self.steps.say(f"training {number} {batch['training_status']}: {reason}")
        return None

    async def _label(self, http: ClientSession, number: int) -> str:
        """Label what the queue offers, each text once, until training `number` is there; returns its batch id."""
        truth = {text_hash(mask(asked.question)): asked.intents for asked in demo_questions()}
        threshold = self.system.settings.train_threshold
        before = len(self.labelled)
        with self.steps.step("labelling what the queue offers") as advance:
            while True:
                queue = (await self._get(http, "questions/unlabeled?limit=1000"))["questions"]
                unseen = {text_hash(q["question"]): q["id"] for q in reversed(queue)}
                page = [(text, unseen[text]) for text in reversed(unseen) if text not in self.labelled][:PAGE]
                if not page:
                    raise TransientError("the queue is empty, and no training was started")
                for text, question_id in page:
                    body = {"correct_intent": truth[text], "labeler_id": "demo"}
                    await self._post(http, f"questions/{question_id}/label", body)
                    self.labelled.add(text)
                    advance(len(self.labelled) - before, max(len(self.labelled) - before, threshold))
                await self._until(self._labels_applied, "the labels are applied")
                if len(self.labelled) - before >= threshold and (found := await self._batch(http, number)):
                    return found

    async def _labels_applied(self) -> bool:
        return await asyncio.to_thread(measures.labelled, self.engine) >= len(self.labelled)

    async def _batch(self, http: ClientSession, number: int) -> str | None:
        """The id of batch `number`, if it is made within three seconds after the last label."""
        found: str | None = None

        async def made() -> bool:
            nonlocal found
            batches = (await self._get(http, "batches"))["batches"]
            found = batches[-number]["batch_id"] if len(batches) >= number else None
            return found is not None

        try:
            await self._until(made, "a training is requested", seconds=3)
        except TransientError:
            return None  # some intent is below its floor still: label on
        return found

    async def _trained(self, http: ClientSession, batch_id: str) -> dict[str, Any]:
        """Wait for the end of a training; returns the batch."""
        batch: dict[str, Any] = {}
        with self.steps.step("training, evaluation, gate") as advance:

            async def over() -> bool:
                nonlocal batch
                batch = (await self._get(http, f"batches/{batch_id}"))["batch"]
                progress = batch["progress"] or {}
                if progress.get("total_steps"):
                    advance(progress["step"], progress["total_steps"])
                return batch["training_status"] in ENDED

            await self._until(over, "the training ends")
        return batch

    async def _reload(self, version: str) -> tuple[float, float]:
        """Wait until every replica serves `version`; returns from when to when (Unix seconds) requests count as during it."""
        activation: tuple[int, float] | None = None
        with self.steps.step(f"every replica serves {version}"):

            async def serving() -> bool:
                nonlocal activation
                activation = await asyncio.to_thread(measures.activated_at, self.engine, version)
                return activation is not None and len(self._replica_seconds(activation)) == REPLICAS

            await self._until(serving, "the replicas reload")
            await asyncio.sleep(AFTER_RELOAD)  # traffic after the reload is part of what is measured
        assert activation is not None
        last = activation[1] + max(self._replica_seconds(activation).values())
        return activation[1] - AFTER_RELOAD, last + AFTER_RELOAD

    def _replica_seconds(self, activation: tuple[int, float]) -> dict[str, float]:
        """Seconds from the event to each replica that serves it."""
        generation, moment = activation
        reports = (said for said in self.loaded.copy().values() if said.loaded_generation == generation)
        return {said.replica_id: round(said.reported_at.timestamp() - moment, 3) for said in reports}

    def _send_broken(self) -> int:
        with EventProducer(self.system.settings, source="broken-upstream") as producer:
            return send_broken(producer, self.system.settings.topic_prefix)

    async def _settled(self, traffic: Traffic, broken: int) -> None:
        """Wait until everything sent has arrived somewhere."""
        wanted = len(set(traffic.sent))

        async def arrived() -> bool:
            stored = await asyncio.to_thread(measures.stored_ids, self.engine)
            return len(stored) >= wanted and await asyncio.to_thread(self._dead_letters) >= broken

        await self._until(arrived, "everything sent is stored or dead-lettered")

    def _dead_letters(self) -> int:
        return measures.dead_letters(self.system.settings, QUESTION_ASKED)

    def _report(self, traffic: Traffic, broken: int, version: str | None, window: tuple[float, float]) -> Report:
        stored = measures.stored_ids(self.engine)
        distinct = {uuid.UUID(event_id).bytes for event_id in traffic.sent}
        pairs, equal = measures.keyword_counts(self.engine)
        activation = measures.activated_at(self.engine, version) if version else None
        during = [request for request in traffic.requests if window[0] <= request.began <= window[1]]
        return Report(
            questions={
                "sent": len(traffic.sent) + broken,
                "stored": stored.total(),
                "duplicates": measures.duplicates(self.system.streams_url),
                "dead_lettered": self._dead_letters(),
                "broken": broken,
                "exact": stored.keys() == distinct and stored.total() == len(distinct),
            },
            keyword_counts={"pairs": pairs, "equal_recount": equal},
            labels={"posted": len(self.labelled), "applied": measures.labelled(self.engine)},
            batches=measures.trained(self.engine),
            activation=activation
            and {
                "version": version,
                "generation": activation[0],
                "replicas": REPLICAS,
                "replica_seconds": self._replica_seconds(activation),
            },
            requests={"during_reload": summary(during), "whole_demo": summary(traffic.requests)},
            wall_seconds=round(time.monotonic() - self.began, 1),
        )

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE) -> None:
        """Look until `holds` says so.

        Raises:
            TransientError: it did not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not await holds():
            if time.monotonic() > deadline:
                raise TransientError(f"{what}: not within {seconds:g} s; see the logs in {self.system.settings.var / 'log'}")
            await asyncio.sleep(0.2)  # the state of other processes: nothing to await

    async def _get(self, http: ClientSession, path: str) -> dict[str, Any]:
        async with http.get(f"{self.system.api_url}/api/v1/model-tuning/{path}") as answer:
            return _said(answer.status, await answer.json(), path)

    async def _post(self, http: ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with http.post(f"{self.system.api_url}/api/v1/model-tuning/{path}", json=body) as answer:
            return _said(answer.status, await answer.json(), path)


def _said(status: int, body: dict[str, Any], path: str) -> dict[str, Any]:
    if status >= 300:
        raise TransientError(f"the API answered {status} to {path}: {body}")
    return body
