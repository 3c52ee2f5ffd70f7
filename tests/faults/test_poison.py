"""Records that can never become rows, thick among good ones."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from schema.settings import Settings
from tests.faults.harness import EVENTS, Bed
from tests.faults.poison import KINDS
from tests.faults.traffic import Traffic

FEW = 600


def test_poison_of_every_kind_is_dead_lettered_once_and_holds_nobody_up(bed: Bed) -> None:
    bed.worker()
    bed.load.send(EVENTS)
    assert set(bed.load.traffic.expected.poison.values()) == set(KINDS), "every kind was sent"
    bed.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_poison_is_dead_lettered(settings: Settings, engine: Engine, kind: str) -> None:
    """One kind at a time, one record in fifty: says which kind is at fault when the test above fails."""
    traffic = Traffic(seed=22, kinds={kind: KINDS[kind]}, poison=0.02)
    bed = Bed(settings, engine, traffic=traffic, events=FEW, labels=50)
    try:
        bed.worker(stream_batch=100, database_patience=5.0)
        bed.load.send(FEW)
        bed.verify(seconds=15)
    finally:
        bed.close()
