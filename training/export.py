"""A trained torch model becomes the files that a replica serves: ONNX with int8 weights, tokenizer, fp16 weights.

The int8 model is checked against torch's own answers before it may leave: a broken export must never reach the gate.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

from inference.predictor import Probabilities, sigmoid
from schema.errors import TrainingError
from training.finetune import encode, torch_logits

OPSET: Final = 18
MAX_FP32_DIFFERENCE: Final = 1e-3
MAX_INT8_DIFFERENCE: Final = 0.05
"""Mean absolute difference in probability that int8 weights may make over the parity questions."""


class _LogitsOnly(torch.nn.Module):  # type: ignore[misc]  # torch is skipped by mypy
    """The model with the inputs and the one output that the predictor knows."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits [batch, labels] of ids and mask [batch, tokens]."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export_model(model: Any, tokenizer: Tokenizer, folder: Path, *, max_length: int, parity: Sequence[str]) -> None:
    """Write model.onnx, tokenizer.json and weights/ of `model` to `folder`.

    Args:
        model: a BERT for sequence classification.
        tokenizer: its tokenizer.
        folder: an existing folder.
        max_length: tokens that the model reads of a question.
        parity: questions on which torch, ONNX fp32 and ONNX int8 are compared.

    Raises:
        TrainingError: the exported model answers differently.
    """
    model = model.to("cpu").eval()
    wanted = torch_logits(model, tokenizer, parity, max_length)
    save_weights(model, folder / "weights")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="intentloop-export-") as scratch:
        full = Path(scratch) / "model.onnx"
        _to_onnx(model, full)
        difference = np.abs(_onnx_logits(full, tokenizer, parity, max_length) - wanted).max()
        if not difference <= MAX_FP32_DIFFERENCE:
            raise TrainingError(f"the ONNX model differs from torch by {difference:.4f} in a logit")
        quantise(full, folder / "model.onnx")
    strip(folder / "model.onnx")
    served = sigmoid(_onnx_logits(folder / "model.onnx", tokenizer, parity, max_length))
    drift = np.abs(served - sigmoid(wanted)).mean()
    if not drift <= MAX_INT8_DIFFERENCE:
        raise TrainingError(f"int8 weights change the probabilities by {drift:.3f} on average")


def save_weights(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors in fp16, as Hugging Face reads them."""
    halved = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=halved)


def quantise(source: Path, target: Path) -> None:
    """int8 weights, activations scaled as they come.

    Seven bits of range, because the AVX2 instructions of older processors saturate at eight: the numbers must be the same
    on every machine that serves.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser logs advice to the root logger
    try:
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        root.setLevel(level)


def _to_onnx(model: Any, target: Path) -> None:
    ids = torch.arange(5, 12).repeat(2, 1)
    free = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own parts, and of its age
        torch.onnx.export(
            _LogitsOnly(model).eval(),  # or the exporter leaves the model in training mode
            (ids, torch.ones_like(ids)),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": free, "attention_mask": free},
            opset_version=OPSET,
            dynamo=False,  # a sixteenth of the time of the other exporter, for a graph that answers the same and as fast
        )


def strip(path: Path) -> None:
    """Remove what the exporter notes of the source it read: paths of this machine, by which the same weights would differ."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, *model.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def _onnx_logits(path: Path, tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Probabilities:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = []
    for ids in encode(tokenizer, texts, max_length):
        tensor = np.array([ids], dtype=np.int64)
        rows.append(session.run(["logits"], {"input_ids": tensor, "attention_mask": np.ones_like(tensor)})[0][0])
    return np.stack(rows).astype(np.float32)
