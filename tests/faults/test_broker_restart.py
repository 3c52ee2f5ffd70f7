"""The broker goes away under load and comes back, with the same data on the same port."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from local.kafka import EmbeddedKafka
from schema.migrate import migrate_topics
from schema.settings import Settings
from tests.faults.harness import Bed
from tests.faults.traffic import Traffic

pytestmark = pytest.mark.long


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    """A broker of this test's own: nobody else may lose theirs."""
    with tempfile.TemporaryDirectory(prefix="il-") as folder, EmbeddedKafka(Path(folder)) as server:
        yield server


def test_a_broker_restart_under_load_loses_and_repeats_nothing(broker: EmbeddedKafka, settings: Settings, engine: Engine) -> None:
    """A worker may end over it; then its supervisor starts another."""
    own = settings.model_copy(update={"kafka": broker.bootstrap, "topic_prefix": f"b{uuid.uuid4().hex[:6]}."})
    migrate_topics(own)
    bed = Bed(own, engine, traffic=Traffic(seed=21), restarts=True)
    try:
        bed.worker(stream_batch=500)
        bed.load.start(1500)
        bed.until(lambda: bed.stored() > 3000, "events flow")
        broker.stop()
        before = bed.stored()
        broker.start()
        bed.until(lambda: bed.stored() > before + 2000, "events flow again", 60)
        bed.verify()
        print(f"workers that ended over it: {[worker.child.returncode for worker in bed.ended]}")
    finally:
        bed.close()
