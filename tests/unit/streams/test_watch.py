"""A partition that lags and does not move is told from one that is busy, and from one that has nothing to do."""

from __future__ import annotations

from streams.watch import Progress


def test_what_moves_does_not_stand() -> None:
    progress = Progress()
    for second in range(100):
        progress.saw(committed=second, end=1000, now=second)
        assert progress.stands_since is None
    assert progress.lag == 901


def test_what_lags_and_does_not_move_stands_since_the_second_look() -> None:
    progress = Progress()
    progress.saw(10, 20, now=1.0)
    progress.saw(10, 20, now=6.0)
    progress.saw(10, 25, now=11.0)
    assert progress.stands_since == 6.0


def test_what_has_nothing_to_do_does_not_stand() -> None:
    progress = Progress()
    for second in range(100):
        progress.saw(20, 20, now=second)
    assert progress.stands_since is None
    progress.saw(20, 21, now=100.0)
    assert progress.stands_since == 100.0


def test_moving_again_ends_it() -> None:
    progress = Progress()
    progress.saw(10, 20, now=1.0)
    progress.saw(10, 20, now=6.0)
    progress.saw(11, 20, now=11.0)
    assert progress.stands_since is None


def test_the_age_of_the_lag_is_that_of_the_first_record_not_committed() -> None:
    progress = Progress()
    progress.saw(0, 10, now=0.0)
    progress.saw(0, 30, now=5.0)
    assert progress.lag_seconds(now=8.0) == 8.0
    progress.saw(10, 30, now=9.0)
    assert progress.lag_seconds(now=9.0) == 4.0
    progress.saw(30, 30, now=10.0)
    assert progress.lag_seconds(now=20.0) == 0.0
