"""What the gate decides on: figures that are what they are called, and no words of a user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from schema.taxonomy import INTENTS
from training.corpus import Row, read_rows, seed_rows, split
from training.evaluate import Answers, calibration_error, marks, reliability
from training.judgement import GOLDEN_QUESTIONS, changed, confusion, judge_folder

ROWS = [Row("财运如何", ("wealth",)), Row("跳槽好吗", ("career",)), Row("又财又运", ("wealth", "career"))]
WEALTH, CAREER = INTENTS.index("wealth"), INTENTS.index("career")


def given(*first: int, confidence: float = 0.9) -> Answers:
    return Answers(np.eye(len(INTENTS), dtype=np.bool_)[list(first)], np.full(len(first), confidence), np.array(first))


def test_confidence_is_that_of_being_right() -> None:
    """Ten answers at 0.85, eight of them right: five points off. An answer is right where the label has its first intent."""
    confidence, right = np.full(10, 0.85), np.array([True] * 8 + [False] * 2)
    [only] = reliability(confidence, right)
    assert (only.confidence, only.right, only.rows) == (0.85, 0.8, 10)
    assert calibration_error([only]) == pytest.approx(0.05)
    assert calibration_error([]) == 0.0
    assert given(WEALTH, WEALTH, CAREER).right(marks(ROWS)).tolist() == [True, False, True]


def test_bins_hold_each_answer_once_also_the_certain_ones() -> None:
    bins = reliability(np.array([0.0, 0.31, 0.39, 1.0]), np.array([False, True, False, True]))
    assert [(one.right, one.rows) for one in bins] == [(0.0, 1), (0.5, 2), (1.0, 1)]


def test_the_confusion_counts_rows_of_one_intent() -> None:
    table = confusion(given(WEALTH, WEALTH, CAREER), marks(ROWS))
    assert table.sum() == 2
    assert table[WEALTH, WEALTH] == table[CAREER, WEALTH] == 1


def test_rows_that_changed_sides_are_told_without_their_words_and_losses_first() -> None:
    truth, before = marks(ROWS), given(WEALTH, WEALTH, WEALTH).said
    after = given(CAREER, CAREER, WEALTH).said
    lost, won = changed(ROWS, before, after, truth)
    assert (lost["right"], lost["before"], lost["after"], lost["intents"]) == (False, ["wealth"], ["career"], ["wealth"])
    assert won["right"]
    assert "财运" not in json.dumps([lost, won], ensure_ascii=False)


def test_a_version_compared_with_itself_has_changed_nothing(parent: Path) -> None:
    held_out = split(seed_rows()).held_out[:60]
    verdict, metrics = judge_folder(parent, parent, held_out, threads=2)
    assert metrics["changed"] == []
    assert metrics["serving"] == metrics["candidate"]
    assert metrics["size"] > 0
    assert sum(one["rows"] for one in metrics["reliability"]) == 60
    assert metrics["gate"] == verdict.as_json()


def test_golden_questions_cover_every_intent() -> None:
    assert {intent for row in read_rows(GOLDEN_QUESTIONS) for intent in row.intents} == set(INTENTS)
