"""From questions to calibrated probabilities: encoder and wide half, sigmoid of their logits by temperature, threshold rule.

Replicas, the gate and ``intentloop evaluate`` all use this one class, so that what is evaluated is what is served.
Several questions go through a model at once only where that changes none of them: `training.graph` writes such models, with
a scale per token, and their files say so. A model that scales its activations over the whole input would give a question
slightly other numbers in a batch, depending on its neighbours; it gets them one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
ROWS: Final = "intentloop.rows"
"""The property of a model file that says whether an answer hangs on the question alone: then it is `ROWS_INDEPENDENT`."""
ROWS_INDEPENDENT: Final = "independent"
MOST_AT_ONCE: Final = 8
"""Questions that go through a model at once: more gain little, and everyone among them waits for all."""
MOST_PLACES: Final = 384
"""Tokens that go through a model at once, padding included."""
_SMALL: Final = 16 << 20
"""Bytes of a model that one thread computes as fast as two."""
_MAX_CHARACTERS: Final = 2_000
_WARM_UP: Final = ("我今年的财运怎么样？", "今天天气好吗")


def prepare(text: str) -> str:
    """`text` as the tokenizer gets it, in training and in serving: identifiers masked, NFKC, lower case, simplified."""
    return simplify(mask(text[:_MAX_CHARACTERS]))


class Predictor:
    """One loaded model. Safe to use from several threads.

    Attributes:
        at_once: questions that are worth asking together; 1 where each goes through the model alone.
        side_by_side: threads that are worth asking from: one where the model itself uses several.
    """

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
        at_once: int = 1,
        side_by_side: int = 1,
    ) -> None:
        self.at_once = at_once
        self.side_by_side = side_by_side
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
            threads: how many there are; a small model uses one of them for a call.

        Raises:
            ArtefactError: the model or tokenizer cannot be loaded, or gives nonsense.
        """
        manifest = read_manifest(folder)
        model = folder / "model.onnx"
        try:
            own = 1 if model.stat().st_size <= _SMALL else threads
            session = _session(model, threads=own)
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
            at_once=MOST_AT_ONCE if _is_independent(session) else 1,
            side_by_side=threads if own == 1 else 1,
        )
        if not np.isfinite(predictor.probabilities(_WARM_UP)).all():
            raise ArtefactError(f"the model of {folder} answers with numbers that are not finite")
        return predictor

    def halves(self, texts: Sequence[str]) -> tuple[Probabilities, Probabilities]:
        """The logits of the encoder and of the wide half, float32 [len(texts), labels] each; zeros where there is no such half.

        Raises:
            ArtefactError: the model does not fit the tokenizer or the labels.
        """
        deep = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        wide = np.zeros_like(deep)
        encoded = []
        for i, text in enumerate(texts):
            prepared = prepare(text)
            if self._grams is not None:
                wide[i] = self._grams.logits(prepared)
            encoded.append(self._tokenizer.encode(prepared).ids)
        for some in groups([len(ids) for ids in encoded], self.at_once):
            deep[some] = self._run([encoded[i] for i in some])
        return deep, wide

    def _run(self, rows: Sequence[list[int]]) -> Probabilities:
        """The model's logits for questions of some tokens each, float32 [len(rows), labels]."""
        tokens = max(map(len, rows))
        ids = np.zeros((len(rows), tokens), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            (answer,) = self._session.run(["logits"], {k: v for k, v in feeds.items() if k in self._inputs})
            return np.asarray(answer, dtype=np.float32).reshape(len(rows), len(self.labels))
        except Exception as error:  # as above
            raise ArtefactError(f"the model fails on {len(rows)} questions of up to {tokens} tokens: {error}") from error

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


def _session(model: Path, *, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Between two operators a thread is waited for awake, which makes an answer a third faster; not between two answers,
    # when it would cost whole cores.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        str(model),
        sess_options=options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],  # the fused operator takes eight times as long as its parts
    )


def _is_independent(session: Any) -> bool:
    return bool(session.get_modelmeta().custom_metadata_map.get(ROWS) == ROWS_INDEPENDENT)


def groups(lengths: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """The places of `lengths` in groups of like length, at most `at_once` each, and padded at most `MOST_PLACES`."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if group and (len(group) == at_once or (len(group) + 1) * lengths[group[0]] > MOST_PLACES):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


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
