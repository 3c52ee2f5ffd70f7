"""The wide half: the same numbers wherever it is loaded, and nothing that was never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.grams import GRAMS_FILE, Grams, buckets
from schema.errors import ArtefactError
from training.wide import ABSENT, fit_grams

TEXTS = ["财运怎么样", "今年能发财吗", "工作顺利吗", "跳槽好不好", "升职有没有望", "天气如何"]
WANTED = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)


@pytest.fixture(scope="module")
def fitted() -> Grams:
    return fit_grams(TEXTS, WANTED)


def test_each_character_and_each_pair_counts_once_per_occurrence() -> None:
    ids, counts = buckets("财运财运")
    assert len(ids) == 4, "财, 运, 财运, 运财"
    assert sorted(counts) == pytest.approx([1.0, *[1 + np.log(2)] * 3])
    assert len(buckets("")[0]) == 0


def test_it_tells_what_it_was_fitted_on_apart(fitted: Grams) -> None:
    for text, wanted in zip(TEXTS, WANTED, strict=True):
        assert ((fitted.logits(text) > 0) == (wanted > 0)).all(), text


def test_an_intent_that_no_row_carries_is_never_said(fitted: Grams) -> None:
    assert fitted.logits("财运怎么样")[2] == ABSENT


def test_what_was_never_seen_changes_nothing(fitted: Grams) -> None:
    np.testing.assert_allclose(fitted.logits("财运怎么样"), fitted.logits("财运怎么样Ω"), atol=1e-5)
    np.testing.assert_allclose(fitted.logits("Ω"), fitted.bias)


def test_a_saved_layer_answers_the_same_and_the_same_rows_give_the_same_bytes(fitted: Grams, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    first = (tmp_path / GRAMS_FILE).read_bytes()
    loaded = Grams.load(tmp_path, labels=3)
    for text in TEXTS:
        np.testing.assert_allclose(loaded.logits(text), fitted.logits(text), atol=0.05)
    fit_grams(TEXTS, WANTED).save(tmp_path)
    assert (tmp_path / GRAMS_FILE).read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_broken_layer_is_no_artefact(fitted: Grams, tmp_path: Path, content: bytes | None) -> None:
    fitted.save(tmp_path)
    if content is None:
        with pytest.raises(ArtefactError, match="3 labels, the manifest 4"):
            Grams.load(tmp_path, labels=4)
        return
    (tmp_path / GRAMS_FILE).write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        Grams.load(tmp_path, labels=3)
