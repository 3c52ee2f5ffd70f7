"""One tiny artefact for all unit tests, made with the project's own functions: a BERT of two layers of 32."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

PARENT_ROWS_PER_INTENT = 40


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact v0, trained in seconds on a part of the seed corpus. Read-only: copy it before you spoil it."""
    # Imported here, because torch takes seconds and most unit tests do not need it.
    from transformers import BertConfig

    from inference.predictor import prepare
    from schema.taxonomy import INTENTS
    from training.assembly import Identity, calibrate_and_seal, close, write_rules
    from training.base.vocabulary import make_tokenizer
    from training.corpus import seed_rows, split
    from training.evaluate import marks
    from training.export import export_model
    from training.finetune import Recipe, fit, make_deterministic
    from training.judgement import judge_folder
    from training.keywords import mine
    from training.network import IntentClassifier
    from training.wide import fit_grams

    sides = split(seed_rows())
    few = [[row for row in sides.training if intent in row.intents][:PARENT_ROWS_PER_INTENT] for intent in INTENTS]
    training = list({row.question: row for rows in few for row in rows}.values())
    tokenizer = make_tokenizer([prepare(row.question) for row in training])
    recipe = Recipe(epochs=12, learning_rate=3e-3, batch=16)
    make_deterministic(recipe.seed, 2)
    model = IntentClassifier(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=len(INTENTS),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0,
        )
    )
    fit(model, tokenizer, training, INTENTS, recipe, max_length=32, report=lambda _: None)
    folder = tmp_path_factory.mktemp("parent") / "v0"
    folder.mkdir()
    identity = Identity(
        version="v0",
        parent=None,
        base_model="tiny",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        labels=INTENTS,
        max_length=32,
        rules_revision=0,
    )
    export_model(model, tokenizer, folder, max_length=32, parity=[row.question for row in sides.validation[:20]])
    write_rules(folder, mine(training, limit=100), identity.rules_revision)
    fit_grams([prepare(row.question) for row in training], marks(training).astype("float32")).save(folder)
    calibrate_and_seal(folder, identity, sides.validation, threads=2)
    _, metrics = judge_folder(folder, None, sides.held_out, threads=2)
    close(folder, metrics | {"train_rows": len(training), "replay_rows": 0}, training)
    return folder
