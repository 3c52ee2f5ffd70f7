"""Records that can never become rows, thick among good ones. Every other scenario has some among its events too."""

from __future__ import annotations

from sqlalchemy import Engine

from schema.settings import Settings
from tests.faults.harness import EVENTS, Bed
from tests.faults.poison import HEAVY, KINDS
from tests.faults.traffic import Traffic


def test_poison_of_every_kind_is_dead_lettered_and_holds_nobody_up(bed: Bed) -> None:
    bed.worker()
    bed.load.send(EVENTS)
    assert set(bed.load.traffic.expected.poison.values()) == set(KINDS), "every kind was sent"
    bed.verify()


def test_poison_that_costs_the_most_comes_in_crowds_and_costs_nobody_else_anything(settings: Settings, engine: Engine) -> None:
    """Values of 2 MB, and rows that only the database refuses, many to a batch: each is searched for by halving it."""
    bed = Bed(settings, engine, traffic=Traffic(seed=22, kinds=HEAVY, poison=0.01), events=EVENTS // 4)
    try:
        bed.worker()
        bed.load.send(EVENTS // 4)
        bed.verify()
    finally:
        bed.close()
