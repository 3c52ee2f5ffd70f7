"""A trained torch model becomes the files that a replica serves: ONNX with int8 weights, tokenizer, fp16 weights.

The graph (`training.graph`) is checked against torch's own answers, in float32 and as it is served, before it may leave: a
broken export must never reach the gate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from tokenizers import Tokenizer

from inference.predictor import Probabilities, sigmoid
from schema.errors import TrainingError
from training.finetune import encode, torch_logits
from training.graph import bert_graph

MAX_FP32_DIFFERENCE: Final = 1e-3
MAX_INT8_DIFFERENCE: Final = 0.05
"""Mean absolute difference in probability that int8 weights may make over the parity questions."""


def export_model(model: Any, tokenizer: Tokenizer, folder: Path, *, max_length: int, parity: Sequence[str]) -> None:
    """Write model.onnx, tokenizer.json and weights/ of `model` to `folder`.

    Args:
        model: a BERT for sequence classification.
        tokenizer: its tokenizer.
        folder: an existing folder.
        max_length: tokens that the model reads of a question.
        parity: questions on which torch, ONNX fp32 and ONNX int8 are compared.

    Raises:
        TrainingError: the exported model answers differently, or is of a kind that cannot be exported.
    """
    model = model.to("cpu").eval()
    wanted = torch_logits(model, tokenizer, parity, max_length)
    save_weights(model, folder / "weights")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="intentloop-export-") as scratch:
        full = Path(scratch) / "model.onnx"
        onnx.save(bert_graph(model, int8=False), full)
        difference = np.abs(_onnx_logits(full, tokenizer, parity, max_length) - wanted).max()
    if not difference <= MAX_FP32_DIFFERENCE:
        raise TrainingError(f"the ONNX model differs from torch by {difference:.4f} in a logit")
    onnx.save(bert_graph(model, int8=True), folder / "model.onnx")
    served = sigmoid(_onnx_logits(folder / "model.onnx", tokenizer, parity, max_length))
    drift = np.abs(served - sigmoid(wanted)).mean()
    if not drift <= MAX_INT8_DIFFERENCE:
        raise TrainingError(f"int8 weights change the probabilities by {drift:.3f} on average")


def save_weights(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors in fp16, as Hugging Face reads them."""
    halved = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=halved)


def _onnx_logits(path: Path, tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Probabilities:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = []
    for ids in encode(tokenizer, texts, max_length):
        tensor = np.array([ids], dtype=np.int64)
        rows.append(session.run(["logits"], {"input_ids": tensor, "attention_mask": np.ones_like(tensor)})[0][0])
    return np.stack(rows).astype(np.float32)
