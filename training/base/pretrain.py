"""Make the built-in base and version v0: ``python -m training.base.build [--text FILE ...]``.

1. A character vocabulary from common characters, the seed corpus and the texts.
2. A small BERT from nothing, pre-trained as a masked language model on the texts and the seed's training questions.
3. Fine-tuning on the seed's training side, calibration on its validation side, export, and a look at the held-out fifth.

The texts (plain lines, or JSON lines with a field ``text``) are only read; nothing of them but statistics stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

from inference.predictor import prepare
from schema.taxonomy import INTENTS
from schema.text import is_held_out
from training.assembly import Identity, calibrate_and_seal, close, write_rules
from training.base import V0
from training.base.vocabulary import SPECIAL, make_tokenizer
from training.corpus import Row, Sides, seed_rows, split
from training.evaluate import Scores, evaluate
from training.export import export_model
from training.finetune import Recipe, encode, fit, make_deterministic, run_trainer
from training.keywords import mine
from training.network import IntentClassifier
from training.progress import Progress

MAX_LENGTH: Final = 64
PRETRAINING: Final = Recipe(epochs=6, learning_rate=1e-3, batch=64, warm_up=0.06)
FINE_TUNING: Final = Recipe(epochs=15, learning_rate=5e-4)
MASK_SHARE: Final = 0.15
SEED_RULES: Final = 300
THREADS: Final = 2


def configuration(vocabulary: int) -> BertConfig:
    """The built-in base: 4 layers of 256, about 4 million weights."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=128,
        type_vocab_size=2,
        num_labels=len(INTENTS),
        id2label=dict(enumerate(INTENTS)),
        label2id={intent: i for i, intent in enumerate(INTENTS)},
        problem_type="multi_label_classification",
        pad_token_id=0,
    )


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The lines of `paths`, prepared as for the predictor, without held-out questions and doubles."""
    texts: dict[str, None] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            text = json.loads(line)["text"] if path.suffix == ".jsonl" else line
            if text.strip() and not is_held_out(text):
                texts[prepare(text)] = None
    return list(texts)


def masked(rows: Sequence[list[int]], vocabulary: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A masked-language-model batch of token ids: 15 % to guess, of these 80 % masked, 10 % random (Devlin et al., 2018)."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    wanted = ids.clone()
    chosen = (torch.rand(ids.shape, generator=generator) < MASK_SHARE) & (ids >= len(SPECIAL))
    wanted[~chosen] = -100
    how = torch.rand(ids.shape, generator=generator)
    random = torch.randint(len(SPECIAL), vocabulary, ids.shape, generator=generator)
    hidden = torch.where(chosen & (how < 0.8), torch.full_like(ids, SPECIAL.index("[MASK]")), ids)
    hidden = torch.where(chosen & (how > 0.9), random, hidden)
    return {"input_ids": hidden, "attention_mask": (ids != 0).long(), "labels": wanted}


def pretrain(tokenizer: Tokenizer, texts: Sequence[str], recipe: Recipe) -> dict[str, Any]:
    """The encoder's weights after masked-language-model training on `texts`."""
    vocabulary = tokenizer.get_vocab_size()
    model = BertForMaskedLM(configuration(vocabulary))
    generator = torch.Generator().manual_seed(recipe.seed)
    run_trainer(
        model, encode(tokenizer, texts, MAX_LENGTH), lambda rows: masked(rows, vocabulary, generator), recipe, "pretrain", tell
    )
    return {name: value for name, value in model.state_dict().items() if name.startswith("bert.")}


def tell(progress: Progress) -> None:
    """Print every fiftieth step."""
    if progress.step % 50 == 0:
        left = progress.seconds_left or 0.0
        print(f"{progress.stage} {progress.step}/{progress.total_steps} loss {progress.loss:.3f} {left:.0f} s left", flush=True)


def build(rows: Sequence[Row], texts: Sequence[str], target: Path) -> Scores:
    """Make v0 in `target` from labelled `rows` and unlabelled `texts`; returns its scores on the held-out rows."""
    make_deterministic(FINE_TUNING.seed, THREADS)
    sides = split(rows)
    seen = [prepare(row.question) for row in (*sides.training, *sides.validation)]
    tokenizer = make_tokenizer([*texts, *seen])
    weights = pretrain(tokenizer, [*texts, *seen], PRETRAINING) if texts else {}
    make_deterministic(FINE_TUNING.seed, THREADS)
    model = IntentClassifier(configuration(tokenizer.get_vocab_size()))
    model.load_state_dict(weights, strict=False)
    fit(model, tokenizer, sides.training, INTENTS, FINE_TUNING, max_length=MAX_LENGTH, report=tell)
    identity = Identity(
        version="v0",
        parent=None,
        base_model="builtin",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        labels=INTENTS,
        max_length=MAX_LENGTH,
        rules_revision=0,
    )
    with tempfile.TemporaryDirectory(prefix="v0-", dir=target.parent) as scratch:
        folder = Path(scratch) / "v0"
        folder.mkdir()
        parity = [row.question for row in sides.validation[:50]]
        export_model(model, tokenizer, folder, max_length=MAX_LENGTH, parity=parity)
        rules = mine(sides.training, limit=SEED_RULES)
        write_rules(folder, rules, identity.rules_revision)
        calibrate_and_seal(folder, identity, sides.validation, threads=THREADS)
        scores = evaluate(folder, sides.held_out)
        close(folder, metrics(sides, scores))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return scores


def metrics(sides: Sides, scores: Scores) -> dict[str, Any]:
    """metrics.json of v0: the same shape as after a training, without a serving version to compare with."""
    return {
        "held_out_rows": len(sides.held_out),
        "train_rows": len(sides.training),
        "replay_rows": 0,
        "serving": None,
        "candidate": scores.as_json(),
        "gate": None,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--text", nargs="*", type=Path, default=[], help="unlabelled text: lines, or JSON lines with a field text"
    )
    parser.add_argument("--out", type=Path, default=V0)
    arguments = parser.parse_args()
    started = time.monotonic()
    scores = build(seed_rows(), read_texts(arguments.text), arguments.out)
    for intent, one in scores.per_intent.items():
        print(f"{intent:12} f1 {one.f1:.3f}  precision {one.precision:.3f}  recall {one.recall:.3f}  rows {one.support}")
    print(f"held-out macro-F1 {scores.macro_f1:.4f}  accuracy {scores.accuracy:.4f}  {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
