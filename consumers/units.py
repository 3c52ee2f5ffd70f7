"""What a replica has loaded, and how it follows activations: load beside, then swap one reference.

The loader hears every activation, loads the newest that matter, and reports what became of them. If anything fails what
served before serves on. What was loaded last is remembered beside the cache, so that a replica that starts while Kafka or
the model store is away can answer at once: it says then that it may be stale.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram
from pydantic import ValidationError

from consumers.figures import Figures
from consumers.memory import require_memory
from inference.artefact import SERVING, fetch, read_manifest
from inference.llm import Llm
from inference.pipeline import Pipeline
from schema.envelope import Envelope
from schema.errors import ArtefactError, TransientError
from schema.events import CandidateStatus, ModelActivated, ReplicaStatus
from schema.follower import Follower
from schema.producer import EventProducer
from schema.settings import Settings
from schema.topics import MODEL_ACTIVATED, REPLICA_STATUS

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS: Final = 10.0
"""A replica repeats its last report this often, so that a dead one can be told from a silent one."""
ROLLOUT_SECONDS: Final = 2.0
"""How often while a candidate is loaded: the guard acts on these reports."""
RELOADS = Counter("intentloop_model_reloads", "reloads by outcome", ["outcome"])
RELOAD_SECONDS = Histogram("intentloop_model_reload_duration_seconds", "from event to serving", buckets=(0.1, 0.3, 1, 3, 10, 60))
GENERATION = Gauge("intentloop_model_generation", "the activation that serves")
STALE = Gauge("intentloop_model_stale", "1 while what serves was remembered, and Kafka has not been heard")


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A unit that can answer, the activation that brought it, and what is counted of it."""

    unit: Pipeline
    activation: ModelActivated
    figures: Figures

    @classmethod
    def of(cls, unit: Pipeline, activation: ModelActivated) -> Loaded:
        """With counters at 0."""
        return cls(unit, activation, Figures(unit.version, activation.generation))


@dataclass(frozen=True, slots=True)
class Units:
    """What answers, and a candidate beside it."""

    serving: Loaded
    candidate: Loaded | None = None

    def for_user(self, user: str) -> Loaded:
        """Who answers `user`: the candidate for its share of the users, always the same ones; more traffic adds others."""
        candidate = self.candidate
        if candidate is None or candidate.activation.mode == "shadow":
            return self.serving
        place = int.from_bytes(blake2b(f"{candidate.unit.version}\n{user}".encode(), digest_size=8).digest(), "big") % 100
        return candidate if place < candidate.activation.traffic else self.serving

    def other(self, one: Loaded) -> Loaded | None:
        """Who would answer as well, for comparison: in a rollout the one that does not answer, where it has to be known.

        Of a candidate in the shadow every answer is; of one with a share of the users those that it gives itself.
        """
        if self.candidate is None:
            return None
        if self.candidate.activation.mode == "shadow":
            return self.candidate
        return self.serving if one is self.candidate else None


class Loader:
    """Follows ``model.activated`` in a thread of its own. `units` is replaced as a whole, never changed."""

    def __init__(self, settings: Settings, producer: EventProducer, llm: Llm | None) -> None:
        self.units: Units | None = None
        self._settings = settings
        self._producer = producer
        self._llm = llm
        self._remembered = settings.var / "cache" / f"serving-{settings.replica_name}.json"
        self._follower = Follower(settings, MODEL_ACTIVATED, ModelActivated, self._hear)
        self._heard: ModelActivated | None = None  # the newest for everyone
        self._candidate: ModelActivated | None = None
        self._candidate_status: CandidateStatus | None = None
        self._said: ReplicaStatus | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to follow activations."""
        self._thread.start()
        self._follower.start()

    def stop(self) -> None:
        """Say that this replica has stopped, and end the thread."""
        self._stopping.set()
        self._news.set()
        self._follower.stop()
        self._thread.join()
        if self._said is not None:
            self._send(self._said.model_copy(update={"state": "stopped", "figures": [], "reported_at": datetime.now(UTC)}))

    @property
    def stale(self) -> bool:
        """Whether what serves was remembered from the last run, and Kafka has not been heard since."""
        return self.units is not None and not self._follower.caught_up.is_set()

    def _hear(self, envelope: Envelope[ModelActivated]) -> None:
        """Remember the newest activations; older ones are ignored."""
        said = envelope.data
        if said.is_candidate:
            if self._candidate is None or said.generation > self._candidate.generation:
                self._candidate = said
                self._news.set()
        elif self._heard is None or said.generation > self._heard.generation:
            self._heard = said
            self._news.set()

    def _run(self) -> None:
        self._recall()
        while True:
            rolling = self.units is not None and self.units.candidate is not None
            heard = self._news.wait(ROLLOUT_SECONDS if rolling else HEARTBEAT_SECONDS)
            self._news.clear()
            if self._stopping.is_set():
                return
            STALE.set(self.stale)
            if heard:
                self._follow()
            elif self._said is not None:
                self._say(self._said)

    def _recall(self) -> None:
        """Load what served when this replica last ran, until Kafka says what serves."""
        try:
            known = ModelActivated.model_validate_json(self._remembered.read_bytes())
            unit = self._load(known)
        except (OSError, ValidationError, ArtefactError) as error:
            log.info("nothing is remembered that can be served: %s", error)
            return
        if self._heard is None:
            self.units = Units(Loaded.of(unit, known))
            STALE.set(self.stale)
            log.info("serving %s from the cache until Kafka is heard", unit.version)
            self._report("loaded", known)

    def _follow(self) -> None:
        """Load what was heard and is not loaded yet."""
        wanted, units = self._heard, self.units
        if wanted is None:
            return
        if units is None or units.serving.activation != wanted:
            units = self._swap(wanted)
        candidate = self._candidate
        if candidate is not None and candidate.generation < wanted.generation:
            candidate = self._candidate_status = None  # it stood until the next activation
        if units is None:
            return
        if candidate is None:
            if units.candidate is not None:
                self.units = Units(units.serving)
                self._say(self._said)
        elif self._candidate_status is None or self._candidate_status.generation != candidate.generation:
            self._stand_beside(units, candidate)

    def _swap(self, wanted: ModelActivated) -> Units | None:
        """Load beside, then swap; on failure keep what serves."""
        began = time.monotonic()
        before = self.units
        try:
            unit = self._taken_over(before, wanted) or self._load(wanted)
        except ArtefactError as error:
            log.error("generation %d cannot be served: %s", wanted.generation, error)
            RELOADS.labels("load_failed").inc()
            self._report("load_failed", wanted, error=str(error), seconds=time.monotonic() - began)
            return self.units
        self.units = Units(Loaded.of(unit, wanted))
        seconds = time.monotonic() - began
        RELOADS.labels("loaded").inc()
        RELOAD_SECONDS.observe(seconds)
        GENERATION.set(wanted.generation)
        log.info("serving %s, generation %d", unit.version, wanted.generation)
        self._candidate_status = None
        self._remember(wanted)
        self._report("loaded", wanted, seconds=seconds)
        return self.units

    def _taken_over(self, units: Units | None, wanted: ModelActivated) -> Pipeline | None:
        """The unit of a candidate that is promoted, or of what serves and serves on: loaded and verified already."""
        for one in (units.serving, units.candidate) if units is not None else ():
            if one is not None and one.activation.manifest_sha256 == wanted.manifest_sha256:
                return one.unit
        return None

    def _stand_beside(self, units: Units, wanted: ModelActivated) -> None:
        """Load a candidate beside what serves; the counters of both begin at 0."""
        state: Literal["loaded", "load_failed"] = "loaded"
        error = ""
        try:
            unit = self._taken_over(units, wanted) or self._load(wanted)
            self.units = Units(Loaded.of(units.serving.unit, units.serving.activation), Loaded.of(unit, wanted))
            log.info("%s stands beside %s: %s, %d %%", unit.version, units.serving.unit.version, wanted.mode, wanted.traffic)
        except ArtefactError as failure:
            state, error = "load_failed", str(failure)
            log.error("the candidate of generation %d cannot be loaded: %s", wanted.generation, error)
            self.units = Units(units.serving)
        RELOADS.labels(state).inc()
        self._candidate_status = CandidateStatus(
            generation=wanted.generation, version=wanted.version, state=state, error=error[:2000]
        )
        self._say(self._said)

    def _load(self, wanted: ModelActivated) -> Pipeline:
        settings = self._settings
        folder = fetch(
            wanted.model_url,
            sha256=wanted.manifest_sha256,
            cache=settings.var / "cache",
            roles=SERVING,
            verify_key=settings.verify_key,
        )
        require_memory(read_manifest(folder))
        return Pipeline.load(
            folder,
            threads=settings.inference_threads,
            confidence=settings.confidence,
            llm=self._llm,
            replica_id=settings.replica_name,
        )

    def _remember(self, wanted: ModelActivated) -> None:
        temporary = self._remembered.with_suffix(".part")
        try:
            temporary.write_text(wanted.model_dump_json(), encoding="utf-8")
            temporary.replace(self._remembered)
        except OSError as error:
            log.warning("what serves is not remembered for the next start: %s", error)

    def _report(
        self, state: Literal["loaded", "load_failed"], wanted: ModelActivated, *, error: str = "", seconds: float = 0.0
    ) -> None:
        serving = self.units.serving if self.units else None
        settings = self._settings
        self._say(
            ReplicaStatus(
                replica_id=settings.replica_name,
                state=state,
                wanted_generation=wanted.generation,
                loaded_generation=serving.activation.generation if serving else 0,
                version=serving.unit.version if serving else "",
                rules_revision=serving.unit.rules.revision if serving else 0,
                error=error[:2000],
                seconds=round(seconds, 3),
                url=f"http://{settings.host}:{settings.replica_port}",
                reported_at=datetime.now(UTC),
            )
        )

    def _say(self, status: ReplicaStatus | None) -> None:
        """Send `status` with what changes between two loads."""
        if status is None:
            return
        units = self.units
        loaded = [one for one in (units.serving, units.candidate) if one is not None] if units is not None else []
        self._said = status.model_copy(
            update={
                "reported_at": datetime.now(UTC),
                "stale": self.stale,
                "candidate": self._candidate_status,
                "figures": [one.figures.told() for one in loaded],
            }
        )
        self._send(self._said)

    def _send(self, status: ReplicaStatus) -> None:
        try:
            self._producer.send(REPLICA_STATUS, status, key=status.replica_id)
        except TransientError as failure:
            log.warning("the state %s was not reported: %s", status.state, failure)
