"""From questions to calibrated probabilities: encoder and wide half, sigmoid of their logits by temperature, threshold rule.

Replicas, the gate and ``intentloop evaluate`` all use this one class, so that what is evaluated is what is served.
Questions go through the model one at a time: the int8 model scales its activations over the whole input, and in a batch the
same question would get slightly other numbers, depending on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.artefact import read_manifest
from inference.grams import GRAMS_FILE, Grams
from schema.errors import ArtefactError
from schema.privacy import mask
from schema.taxonomy import MAX_INTENTS, NON_FORTUNE, Intent
from schema.text import simplify

Probabilities = NDArray[np.float32]
_MAX_CHARACTERS: Final = 2_000
_WARM_UP: Final = ("我今年的财运怎么样？", "今天天气好吗")


def prepare(text: str) -> str:
    """`text` as the tokenizer gets it, in training and in serving: identifiers masked, NFKC, lower case, simplified."""
    return simplify(mask(text[:_MAX_CHARACTERS]))


class Predictor:
    """One loaded model. Safe to use from several threads."""

    def __init__(
        self,
        session: Any,
        tokenizer: Tokenizer,
        grams: Grams | None,
        *,
        labels: Sequence[Intent],
        thresholds: dict[Intent, float],
        temperature: float,
        wide_share: float,
        max_length: int,
    ) -> None:
        self.labels: tuple[Intent, ...] = tuple(labels)
        self.thresholds = dict(thresholds)
        self.temperature = temperature
        self.wide_share = wide_share
        self._grams = grams
        self.max_length = max_length
        self._session = session
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._inputs = {i.name for i in session.get_inputs()}
        self._bars = np.array([thresholds[label] for label in self.labels], dtype=np.float32)

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> Predictor:
        """The model of the artefact in `folder`, warmed up; its files are taken as verified (`artefact.verify`).

        Args:
            folder: an artefact.
            threads: threads that one call may use.

        Raises:
            ArtefactError: the model or tokenizer cannot be loaded, or gives nonsense.
        """
        manifest = read_manifest(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads save microseconds and cost whole cores when a replica is idle.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
            )
            tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception, ONNX Runtime types that share no other base
            raise ArtefactError(f"{folder} cannot be loaded: {error}") from error
        predictor = cls(
            session,
            tokenizer,
            Grams.load(folder, len(manifest.labels)) if GRAMS_FILE in manifest.files else None,
            labels=manifest.labels,
            thresholds=manifest.thresholds,
            temperature=manifest.temperature,
            wide_share=manifest.wide_share,
            max_length=manifest.max_length,
        )
        if not np.isfinite(predictor.probabilities(_WARM_UP)).all():
            raise ArtefactError(f"the model of {folder} answers with numbers that are not finite")
        return predictor

    def halves(self, texts: Sequence[str]) -> tuple[Probabilities, Probabilities]:
        """The logits of the encoder and of the wide half, float32 [len(texts), labels] each; zeros where there is no such half.

        Raises:
            ArtefactError: the model does not fit the tokenizer or the labels.
        """
        rows = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        wide = np.zeros_like(rows)
        for i, text in enumerate(texts):
            prepared = prepare(text)
            if self._grams is not None:
                wide[i] = self._grams.logits(prepared)
            encoding = self._tokenizer.encode(prepared)
            feeds = {
                "input_ids": np.array([encoding.ids], dtype=np.int64),
                "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
                "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
            }
            try:
                (answer,) = self._session.run(["logits"], {k: v for k, v in feeds.items() if k in self._inputs})
                rows[i] = answer[0]
            except Exception as error:  # as above
                raise ArtefactError(f"the model fails on a question of {len(encoding.ids)} tokens: {error}") from error
        return rows, wide

    def logits(self, texts: Sequence[str]) -> Probabilities:
        """Both halves together, float32 [len(texts), labels].

        Raises:
            ArtefactError: the model does not fit the tokenizer or the labels.
        """
        return together(*self.halves(texts), self.wide_share)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Calibrated probabilities, float32 [len(texts), labels], each in 0..1 on its own (multi-label)."""
        return sigmoid(self.logits(texts) / np.float32(self.temperature))

    def decide(self, row: Probabilities) -> list[Intent]:
        """The intents of one row of probabilities, best first: `decide` with this model's labels and thresholds."""
        return decide(row, self.labels, self._bars)


def together(deep: Probabilities, wide: Probabilities, wide_share: float) -> Probabilities:
    """The logits of a model with both halves."""
    return np.asarray((1 - wide_share) * deep + wide_share * wide, dtype=np.float32)


def sigmoid(x: Probabilities) -> Probabilities:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float32)


def decide(row: Probabilities, labels: Sequence[Intent], bars: Probabilities) -> list[Intent]:
    """The threshold rule: labels that reach their bar, best first, at most three; never empty.

    ``non_fortune`` stands alone if it is the most probable, and gives way if it is not.

    Args:
        row: probabilities, [labels].
        labels: the intents in the order of `row`.
        bars: thresholds, [labels].
    """
    order = np.argsort(-row, kind="stable")
    top = labels[int(order[0])]
    if top == NON_FORTUNE:
        return [top]
    chosen = [labels[int(i)] for i in order if row[i] >= bars[i] and labels[int(i)] != NON_FORTUNE]
    return chosen[:MAX_INTENTS] or [top]
