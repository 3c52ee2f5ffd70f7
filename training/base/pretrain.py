"""Make the built-in base, a small BERT from nothing: ``python -m training.base.pretrain --text FILE ...``.

A character vocabulary from common characters, the seed corpus and the texts; then masked-language-model training on the texts
and the seed's questions, held-out ones excepted. The result is a Hugging Face directory like any other; `training.base.build`
makes version v0 from it. The texts (plain lines, or JSON lines with a field ``text``) are only read; nothing of them but
statistics stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from inference.predictor import prepare
from schema.text import is_held_out
from training.base import ENCODER, THREADS
from training.base.vocabulary import SPECIAL, make_tokenizer
from training.corpus import seed_rows
from training.export import save_weights
from training.finetune import Recipe, encode, make_deterministic, run_trainer
from training.progress import Progress

MAX_LENGTH: Final = 64
RECIPE: Final = Recipe(epochs=4, learning_rate=1e-3, batch=64, warm_up=0.06)
SEED_WEIGHT: Final = 3
"""How often the seed's questions are read for each time that a text of another field is."""
MASK_SHARE: Final = 0.15


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


def pretrain(tokenizer: Tokenizer, texts: Sequence[str], recipe: Recipe) -> Any:
    """A BERT after masked-language-model training on `texts`."""
    make_deterministic(recipe.seed, THREADS)
    vocabulary = tokenizer.get_vocab_size()
    model = BertForMaskedLM(configuration(vocabulary))
    generator = torch.Generator().manual_seed(recipe.seed)
    run_trainer(
        model, encode(tokenizer, texts, MAX_LENGTH), lambda rows: masked(rows, vocabulary, generator), recipe, "pretrain", tell
    )
    return model


def tell(progress: Progress) -> None:
    """Print every fiftieth step."""
    if progress.loss is not None and progress.step % 50 == 0:
        left = progress.seconds_left or 0.0
        print(f"{progress.stage} {progress.step}/{progress.total_steps} loss {progress.loss:.3f} {left:.0f} s left", flush=True)


def save(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Write encoder and tokenizer as Hugging Face reads them, in fp16; the head for masked words is left out."""
    shutil.rmtree(folder, ignore_errors=True)
    save_weights(model.bert, folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", nargs="+", type=Path, required=True, help="lines, or JSON lines with a field text")
    parser.add_argument("--out", type=Path, default=ENCODER)
    arguments = parser.parse_args()
    seen = [prepare(row.question) for row in seed_rows() if not is_held_out(row.question)]
    texts = read_texts(arguments.text)
    tokenizer = make_tokenizer([*texts, *seen])
    model = pretrain(tokenizer, [*texts, *seen * SEED_WEIGHT], RECIPE)
    save(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
