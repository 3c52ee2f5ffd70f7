"""The graph that is served says what torch says, and to each question the same in any company."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig

from inference.artefact import read_manifest, seal
from inference.predictor import MOST_AT_ONCE, Predictor
from schema.errors import TrainingError
from training.finetune import make_deterministic
from training.graph import bert_graph
from training.network import IntentClassifier

LABELS = 5
VOCABULARY = 200


def model(**changes: Any) -> IntentClassifier:
    """A small BERT, with weights wild enough for a mistake to show."""
    make_deterministic(3, 2)
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 40,
        "num_labels": LABELS,
        "initializer_range": 0.2,
    }
    made = IntentClassifier(BertConfig(**fields | changes)).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                weight.add_(torch.randn_like(weight) * 0.3)
    return made


@pytest.fixture(scope="module")
def bert() -> IntentClassifier:
    return model()


@pytest.fixture(scope="module")
def questions() -> list[list[int]]:
    """Token ids, of 2 to 40 tokens."""
    random = np.random.default_rng(11)
    lengths = [2, 3, 40, *random.integers(4, 40, 21)]
    return [random.integers(5, VOCABULARY, length).tolist() for length in lengths]


def said_by(graph: onnx.ModelProto, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Logits of `rows` in one batch, padded with a token that means something."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    tokens = max(map(len, rows))
    ids = np.array([[*row, *[7] * (tokens - len(row))] for row in rows], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (tokens - len(row)) for row in rows], dtype=np.int64)
    return np.asarray(session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0], dtype=np.float32)


def said_by_torch(bert: IntentClassifier, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    with torch.inference_mode():
        answers = [bert(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.int64)).logits[0] for row in rows]
    return np.asarray(torch.stack(answers).numpy(), dtype=np.float32)


@pytest.mark.parametrize("changes", [{}, {"hidden_act": "gelu_new"}, {"num_hidden_layers": 1, "num_attention_heads": 1}])
def test_in_float32_it_is_the_model(changes: dict[str, Any], questions: list[list[int]]) -> None:
    bert = model(**changes)
    wanted = said_by_torch(bert, questions)
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(said_by(bert_graph(bert, int8=False), questions), wanted, atol=1e-4)


def test_in_int8_it_is_nearly_the_model(bert: IntentClassifier, questions: list[list[int]]) -> None:
    wanted = said_by_torch(bert, questions)
    told = said_by(bert_graph(bert, int8=True), questions)
    assert np.abs(told - wanted).mean() < 0.05 * np.ptp(wanted)
    assert np.corrcoef(told.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("int8", [False, True])
def test_a_question_is_told_the_same_alone_and_in_any_company(
    bert: IntentClassifier, questions: list[list[int]], int8: bool
) -> None:
    graph = bert_graph(bert, int8=int8)
    alone = np.concatenate([said_by(graph, [row]) for row in questions])
    np.testing.assert_allclose(said_by(graph, questions), alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(said_by(graph, questions[::-1])[::-1], alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(said_by(graph, [questions[5], questions[2]])[0], alone[5], rtol=0, atol=1e-5)


def test_the_same_weights_give_the_same_bytes(bert: IntentClassifier) -> None:
    first, again = (bert_graph(one, int8=True).SerializeToString(deterministic=True) for one in (bert, model()))
    assert first == again


def test_another_kind_of_bert_is_refused(bert: IntentClassifier) -> None:
    with pytest.raises(TrainingError, match="relu"):
        bert_graph(model(hidden_act="relu"), int8=True)


def test_a_model_that_does_not_say_so_is_asked_one_question_at_a_time(parent: Path, tmp_path: Path) -> None:
    """As those of earlier exports, whose activations share one scale."""
    assert Predictor.load(parent, threads=1).at_once == MOST_AT_ONCE
    copy = tmp_path / "silent"
    copy.mkdir()
    for file in parent.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    silent = onnx.load(copy / "model.onnx")
    silent.ClearField("metadata_props")
    onnx.save(silent, copy / "model.onnx")
    seal(copy, read_manifest(parent).model_dump(exclude={"files"}))
    assert Predictor.load(copy, threads=1).at_once == 1
