"""SIGTERM under load, and how fast events flow again after a worker was restarted or killed."""

from __future__ import annotations

import time

import pytest

from schema.tables import utc_now
from tests.faults.harness import EVENTS, Bed

pytestmark = pytest.mark.long

DEFAULT_SESSION = 10.0
"""What a user has who sets nothing; the other tests set 6 s to be fast."""
SANE_SECONDS = 60.0
"""How long a test waits for events to flow again: how soon they do is a figure to print, not one to fail by."""


def test_sigterm_under_load_ends_within_20_s_and_loses_nothing(bed: Bed) -> None:
    first = bed.worker(stream_batch=500)
    bed.load.send(EVENTS)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    began = time.monotonic()
    assert bed.terminate(first, 20) == 0, first.tail()
    print(f"SIGTERM under load: ended after {time.monotonic() - began:.2f} s")
    assert bed.stored() < EVENTS * 0.9, "the worker had work to do"
    bed.worker(stream_batch=500)
    bed.verify()


def test_events_flow_again_soon_after_a_rolling_restart(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    """Rolling: the next worker is there before the last one is asked to go. The seconds are printed; the machine decides them."""
    first = bed.worker(session_timeout=DEFAULT_SESSION)
    bed.load.start(1000)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    bed.worker(session_timeout=DEFAULT_SESSION).ready()
    asked = utc_now()
    assert bed.terminate(first, 20) == 0, first.tail()
    ended = utc_now()
    took = bed.flows_since(ended, SANE_SECONDS)
    with capsys.disabled():
        gap = (ended - asked).total_seconds()
        print(f"\nrolling restart: the old worker ended after {gap:.2f} s, events flow again {took:.2f} s after that")
    bed.verify()


def test_events_flow_again_soon_after_a_restart_in_place(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    first = bed.worker(session_timeout=DEFAULT_SESSION)
    bed.load.start(1000)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    assert bed.terminate(first, 20) == 0, first.tail()
    second = bed.worker(session_timeout=DEFAULT_SESSION)
    took = bed.flows_since(second.spawned_at, SANE_SECONDS)
    with capsys.disabled():
        print(f"\nrestart in place: events flow {took:.2f} s after the new worker's start")
    bed.verify()


def test_events_flow_again_soon_after_kill_9(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    """With the default session timeout: for so long the broker keeps the dead worker's partitions."""
    first = bed.worker(session_timeout=DEFAULT_SESSION)
    bed.load.start(1000)
    bed.until(lambda: bed.stored() > 2000, "events flow")
    bed.kill_9(first)
    second = bed.worker(session_timeout=DEFAULT_SESSION)
    took = bed.flows_since(second.spawned_at, SANE_SECONDS)
    with capsys.disabled():
        print(f"\nkill -9: events flow {took:.2f} s after the new one's start")
    bed.verify()
