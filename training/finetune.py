"""Fine-tuning of a BERT with one sigmoid output per intent, with the Hugging Face Trainer.

Importing this module imports torch and transformers; nothing else in `training` but `export` and `base` does.
Everything random hangs on the recipe's seed, and rows arrive sorted by hash: same seed, same data, same weights.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from inference.predictor import prepare
from schema.errors import TrainingError
from schema.taxonomy import Intent
from training.corpus import MIN_VALIDATION, Row
from training.evaluate import macro_f1, marks
from training.network import IntentClassifier
from training.progress import Progress

MAX_POSITIVE_WEIGHT: Final = 4.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the rows.
        learning_rate: its peak.
        warm_up: share of the steps in which the rate rises; then it falls to zero as a cosine.
        patience: epochs without a better validation after which it ends.
    """

    epochs: float
    learning_rate: float
    batch: int = 32
    warm_up: float = 0.1
    weight_decay: float = 0.01
    patience: int = 3
    seed: int = 13


def quiet() -> None:
    """Keep transformers' own bars and notes off stderr: progress is reported by a callback."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything, fix the thread count (sums depend on it) and allow no operator that varies."""
    quiet()
    torch.set_num_threads(threads)
    set_seed(seed)
    torch.use_deterministic_algorithms(True)


def load_model(folder: str, labels: Sequence[Intent]) -> Any:
    """A BERT for `labels` from a Hugging Face directory or hub name, in fp32. Another head than ours is replaced.

    Raises:
        TrainingError: it cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type != "bert":
            raise TrainingError(f"{folder} is a {config.model_type}; only BERT models can be trained")
        config.num_labels = len(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        config.problem_type = "multi_label_classification"
        return IntentClassifier.from_pretrained(folder, config=config, dtype=torch.float32, ignore_mismatched_sizes=True)
    except (OSError, ValueError) as error:
        raise TrainingError(f"the weights at {folder} cannot be loaded: {error}") from error


def load_tokenizer(folder: str) -> Tokenizer:
    """The fast tokenizer of a Hugging Face directory or hub name, as the `tokenizers` library has it.

    Raises:
        TrainingError: there is none.
    """
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"the tokenizer at {folder} cannot be loaded: {error}") from error
    return tokenizer


def class_weights(wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of each label's positives, [labels]: the square root of negatives / positives, within 1 and 4.

    The root keeps a rare intent from drowning, without calling everything by its name.
    """
    positives = wanted.sum(axis=0)
    ratio = (len(wanted) - positives) / np.maximum(positives, 1.0)
    return np.asarray(np.clip(np.sqrt(ratio), 1.0, MAX_POSITIVE_WEIGHT), dtype=np.float32)


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text, cut to `max_length`, as the predictor makes them."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return [encoding.ids for encoding in tokenizer.encode_batch([prepare(text) for text in texts])]


def padded(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """A batch: ids and mask int64 [batch, longest], labels float32 [batch, labels]."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [pad] * (longest - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.from_numpy(np.stack([row["labels"] for row in rows])),
    }


class WeightedTrainer(Trainer):  # type: ignore[misc]  # transformers publishes no types
    """Trainer with class-weighted binary cross-entropy."""

    positive_weights: torch.Tensor

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Mean over batch and labels of the weighted loss; a scalar."""
        wanted = inputs.pop("labels")
        outputs = model(**inputs)
        weights = self.positive_weights.to(outputs.logits.device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs.logits.float(), wanted, pos_weight=weights)
        return (loss, outputs) if return_outputs else loss


class ReportSteps(TrainerCallback):  # type: ignore[misc]  # as above
    """Hands the Trainer's steps on as `Progress`."""

    def __init__(self, stage: str, report: Callable[[Progress], None]) -> None:
        self._stage = stage
        self._report = report
        self._started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock that time left is reckoned by."""
        self._started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Report step, loss and seconds left."""
        if not logs or "loss" not in logs or not state.global_step:
            return
        passed = time.monotonic() - self._started
        left = passed / state.global_step * (state.max_steps - state.global_step)
        self._report(Progress(self._stage, state.global_step, state.max_steps, float(logs["loss"]), left))


def fit(
    model: Any,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    labels: Sequence[Intent],
    recipe: Recipe,
    *,
    max_length: int,
    report: Callable[[Progress], None],
    validation: Sequence[Row] = (),
    checkpoints: Path | None = None,
) -> list[tuple[int, float]]:
    """Train `model` in place on `rows`; returns steps and their losses.

    Args:
        validation: rows that choose the best epoch, where there are `MIN_VALIDATION` of them; else the last one is taken.
        checkpoints: a folder that outlives this process: a run of the same rows that was interrupted goes on from there.

    Raises:
        TrainingError: the loss left the numbers.
    """

    def examples(some: Sequence[Row]) -> list[dict[str, Any]]:
        ids = encode(tokenizer, [row.question for row in some], max_length)
        return [{"input_ids": i, "labels": w} for i, w in zip(ids, marks(some, labels).astype(np.float32), strict=True)]

    pad = int(getattr(model.config, "pad_token_id", 0) or 0)
    training = examples(rows)
    trainer = run_trainer(
        model,
        training,
        lambda batch: padded(batch, pad),
        recipe,
        "fine_tune",
        report,
        positive_weights=class_weights(np.stack([example["labels"] for example in training])),
        validation=sorted(examples(validation), key=lambda one: len(one["input_ids"]))
        if len(validation) >= MIN_VALIDATION
        else None,
        checkpoints=checkpoints,
    )
    if not np.isfinite(trainer.state.log_history[-1].get("train_loss", float("nan"))):
        raise TrainingError("the loss is not a finite number; the weights were thrown away")
    return [(int(told["step"]), round(float(told["loss"]), 5)) for told in trainer.state.log_history if "loss" in told]


def run_trainer(
    model: Any,
    examples: Sequence[Any],
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]],
    recipe: Recipe,
    stage: str,
    report: Callable[[Progress], None],
    *,
    positive_weights: NDArray[np.float32] | None = None,
    validation: Sequence[Any] | None = None,
    checkpoints: Path | None = None,
) -> Trainer:
    """Run one Hugging Face Trainer over `examples`; with `positive_weights` the loss is ours, else the model's own.

    With `validation` the epoch with the best macro-F1 on it is kept. See `fit` for `checkpoints`.
    """
    has_gpu = torch.cuda.is_available()
    choose: dict[str, Any] = {"eval_strategy": "no"}
    if positive_weights is not None:  # rows of like length together: at random, more than half of a batch is padding
        choose["train_sampling_strategy"] = "group_by_length"
    if validation:
        choose |= {"eval_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": "f1"}
    with tempfile.TemporaryDirectory(prefix="intentloop-fit-") as scratch:
        folder = checkpoints or Path(scratch)
        last = last_checkpoint(checkpoints, fingerprint(model, examples, recipe)) if checkpoints else None
        arguments = TrainingArguments(
            output_dir=str(folder),
            **choose,
            per_device_eval_batch_size=64,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=recipe.warm_up,
            weight_decay=recipe.weight_decay,
            max_grad_norm=1.0,
            seed=recipe.seed,
            data_seed=recipe.seed,
            use_cpu=not has_gpu,
            bf16=has_gpu,
            gradient_checkpointing=has_gpu,
            logging_steps=5,
            save_strategy="epoch" if validation or checkpoints else "no",
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_pin_memory=has_gpu,
        )
        made = WeightedTrainer if positive_weights is not None else Trainer
        trainer = made(
            model=model,
            args=arguments,
            train_dataset=list(examples),
            eval_dataset=validation,
            data_collator=collate,
            compute_metrics=_f1,
            callbacks=[ReportSteps(stage, report), *([EarlyStoppingCallback(recipe.patience)] if validation else ())],
        )
        trainer.remove_callback(PrinterCallback)
        if positive_weights is not None:
            trainer.positive_weights = torch.from_numpy(positive_weights)
        trainer.train(resume_from_checkpoint=last)
    return trainer


def _f1(predicted: Any) -> dict[str, float]:
    return {"f1": macro_f1(np.asarray(predicted.predictions) > 0, np.asarray(predicted.label_ids) > 0)}


def fingerprint(model: Any, examples: Sequence[Any], recipe: Recipe) -> str:
    """What a training hangs on, as a hash: the weights that it starts from, its examples in their order, its recipe."""
    digest = hashlib.sha256(repr(recipe).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().float().numpy().tobytes())
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def last_checkpoint(folder: Path, of: str) -> str | None:
    """The last whole checkpoint of the training `of` in `folder`; those of another training are removed."""
    name = folder / "fingerprint"
    folder.mkdir(parents=True, exist_ok=True)
    if not name.exists() or name.read_text() != of:
        shutil.rmtree(folder)
        folder.mkdir()
        name.write_text(of)
        return None
    # The state is written last.
    whole = [one for one in folder.glob("checkpoint-*") if (one / "trainer_state.json").exists()]
    return str(max(whole, key=lambda one: int(one.name.rpartition("-")[2]))) if whole else None


def torch_logits(model: Any, tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    """What the torch model itself says, float32 [len(texts), labels]; for the parity check of the export."""
    model = model.to("cpu").eval()
    answers = []
    with torch.inference_mode():
        for ids in encode(tokenizer, texts, max_length):
            tensor = torch.tensor([ids])
            answers.append(model(input_ids=tensor, attention_mask=torch.ones_like(tensor)).logits[0].float().numpy())
    return np.stack(answers)
