"""The one class that answers everywhere: its rule of thresholds, and answers that hang on the question alone."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from inference.artefact import read_manifest, seal
from inference.predictor import MOST_PLACES, Predictor, decide, groups, prepare, sigmoid
from schema.errors import ArtefactError
from schema.taxonomy import INTENTS, Intent
from training.corpus import seed_rows

LABELS: tuple[Intent, ...] = ("career", "wealth", "marriage", "health", "non_fortune")
BARS = np.array([0.5, 0.5, 0.5, 0.5, 0.5], dtype=np.float32)


@pytest.fixture(scope="module")
def predictor(parent: Path) -> Predictor:
    return Predictor.load(parent, threads=2)


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [row.question for row in seed_rows()[:60]]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([0.9, 0.1, 0.1, 0.1, 0.1], ["career"]),
        ([0.6, 0.9, 0.1, 0.7, 0.1], ["wealth", "health", "career"]),  # best first
        ([0.9, 0.8, 0.7, 0.6, 0.1], ["career", "wealth", "marriage"]),  # at most three
        ([0.5, 0.5, 0.1, 0.1, 0.1], ["career", "wealth"]),  # the bar itself is reached
        ([0.1, 0.3, 0.2, 0.1, 0.1], ["wealth"]),  # never empty
        ([0.9, 0.8, 0.1, 0.1, 0.95], ["non_fortune"]),  # alone where it is the most probable
        ([0.9, 0.8, 0.1, 0.1, 0.85], ["career", "wealth"]),  # gives way where it is not
        ([0.1, 0.1, 0.1, 0.2, 0.3], ["non_fortune"]),
        ([0.3, 0.1, 0.1, 0.2, 0.2], ["career"]),
    ],
)
def test_labels_that_reach_their_bar_are_chosen(row: list[float], wanted: list[Intent]) -> None:
    assert decide(np.array(row, dtype=np.float32), LABELS, BARS) == wanted


def test_each_label_has_its_own_bar() -> None:
    row = np.array([0.6, 0.35, 0.45, 0.1, 0.1], dtype=np.float32)
    bars = np.array([0.65, 0.3, 0.5, 0.5, 0.5], dtype=np.float32)
    assert decide(row, LABELS, bars) == ["wealth"]


def test_every_answer_is_a_legal_label(predictor: Predictor) -> None:
    """Whatever the numbers: one to three intents without doubles, non_fortune alone."""
    rows = np.random.default_rng(5).random((2_000, len(INTENTS)), dtype=np.float32)
    for row in rows:
        chosen = predictor.decide(row)
        assert 1 <= len(chosen) == len(set(chosen)) <= 3
        assert "non_fortune" not in chosen or chosen == ["non_fortune"]


def test_a_question_gets_the_same_answer_alone_and_in_any_company(predictor: Predictor, questions: list[str]) -> None:
    assert predictor.at_once > 1
    together = predictor.probabilities(questions)
    alone = np.concatenate([predictor.probabilities([question]) for question in questions])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(predictor.probabilities(questions[::-1])[::-1], together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_groups_hold_everyone_once_with_others_of_like_length(at_once: int) -> None:
    lengths = np.random.default_rng(2).integers(3, 513, 100).tolist()
    found = list(groups(lengths, at_once))
    assert sorted(i for group in found for i in group) == list(range(100))
    for group in found:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or (len(group) <= at_once and len(group) * longest <= MOST_PLACES)
    spans = [(max(lengths[i] for i in group), min(lengths[i] for i in group)) for group in found]
    assert all(before[1] >= after[0] for before, after in itertools.pairwise(spans))
    assert list(groups([], at_once)) == []


def test_threads_may_share_a_predictor(predictor: Predictor, questions: list[str]) -> None:
    wanted = predictor.probabilities(questions)
    with ThreadPoolExecutor(4) as pool:
        for row, got in zip(wanted, pool.map(lambda q: predictor.probabilities([q])[0], questions), strict=True):
            np.testing.assert_allclose(got, row, rtol=0, atol=1e-4)


def test_probabilities_are_independent_numbers_from_nothing_to_one(predictor: Predictor, questions: list[str]) -> None:
    p = predictor.probabilities(questions)
    assert (p.shape, p.dtype) == ((60, len(INTENTS)), np.float32)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.ptp(p.sum(axis=1)) > 0.01, "they need not sum to one"
    assert predictor.probabilities([]).shape == (0, len(INTENTS))


def test_the_temperature_divides_the_logits(parent: Path, tmp_path: Path, predictor: Predictor, questions: list[str]) -> None:
    copy = tmp_path / "warm"
    shutil.copytree(parent, copy)
    seal(copy, read_manifest(copy).model_dump(exclude={"files"}) | {"temperature": 2.5})
    warm = Predictor.load(copy, threads=1)
    np.testing.assert_array_equal(warm.logits(questions), predictor.logits(questions))
    np.testing.assert_allclose(warm.probabilities(questions), sigmoid(predictor.logits(questions) / 2.5), atol=1e-6)


@pytest.mark.parametrize("text", ["", " ", "\x00", "问" * 5_000, "🎲" * 300, "a" * 3_000, "\u200b\u202e", "<PHONE>"])
def test_any_text_gets_an_answer(predictor: Predictor, text: str) -> None:
    assert predictor.decide(predictor.probabilities([text])[0])


def test_scripts_widths_and_identifiers_make_no_difference(predictor: Predictor) -> None:
    one, other = predictor.probabilities(["我明年的财运怎么样？打13800138000", "我明年的財運怎麼樣？打１３９ ０１３９-０１３９"])
    np.testing.assert_array_equal(one, other)
    assert "138" not in prepare("打13800138000")


def test_extreme_logits_are_no_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        p = sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4], dtype=np.float32))
    np.testing.assert_allclose(p, [0, 0.26894143, 0.5, 0.73105858, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"neither", None])
def test_files_that_do_not_load_are_an_artefact_error(parent: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(parent, broken)
    (broken / name).unlink()
    if content is not None:
        (broken / name).write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        Predictor.load(broken, threads=1)


def test_a_model_with_other_outputs_than_its_labels_is_an_artefact_error(parent: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(parent, odd)
    fields = read_manifest(odd).model_dump(exclude={"files"})
    fields |= {"labels": INTENTS[:7], "thresholds": dict.fromkeys(INTENTS[:7], 0.5)}
    seal(odd, fields)
    with pytest.raises(ArtefactError):
        Predictor.load(odd, threads=1)
