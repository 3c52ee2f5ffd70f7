"""A test bed per scenario, on the run's shared Kafka and database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from schema.settings import Settings
from tests.faults.harness import Bed
from tests.faults.traffic import Traffic


@pytest.fixture
def bed(settings: Settings, engine: Engine) -> Iterator[Bed]:
    """A fresh system; its workers are ended with the test."""
    made = Bed(settings, engine, traffic=Traffic(seed=20))
    try:
        yield made
    finally:
        made.close()
