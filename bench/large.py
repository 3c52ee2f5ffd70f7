"""One hundred new labels on a BERT of base size: ``python -m bench.large``.

Makes a version of 12 layers of 768 with random weights, then trains it on 100 new rows in a process of its own, exactly as the
trainer does. Prints what each stage took, and the process's peak memory. ``--built-in`` does the same from v0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.servers import machine
from inference.predictor import prepare
from schema.taxonomy import INTENTS
from schema.text import is_held_out
from training.assembly import Identity, calibrate_and_seal, close, write_rules
from training.base import V0
from training.base.vocabulary import make_tokenizer
from training.corpus import seed_rows, split
from training.evaluate import marks
from training.export import export_model
from training.finetune import make_deterministic
from training.judgement import judge_folder
from training.keywords import mine
from training.network import IntentClassifier
from training.wide import fit_grams

NEW = 100
MAX_LENGTH = 64


def make_large(folder: Path) -> None:
    """An artefact as a training leaves it: BERT-base's shape and random weights."""
    from transformers import BertConfig

    sides = split(seed_rows())
    texts = [prepare(row.question) for row in sides.training]
    tokenizer = make_tokenizer(texts)
    make_deterministic(1, 2)
    model = IntentClassifier(
        BertConfig(vocab_size=21_128, num_labels=len(INTENTS), problem_type="multi_label_classification", pad_token_id=0)
    )
    folder.mkdir()
    created = datetime(2026, 1, 1, tzinfo=UTC)
    identity = Identity(
        version="v0",
        parent=None,
        base_model="random-base",
        created_at=created,
        labels=INTENTS,
        max_length=MAX_LENGTH,
        rules_revision=0,
    )
    export_model(model, tokenizer, folder, max_length=MAX_LENGTH, parity=texts[:8])
    write_rules(folder, mine(sides.training, limit=300), 0)
    fit_grams(texts, marks(sides.training).astype("float32")).save(folder)
    calibrate_and_seal(folder, identity, sides.validation, threads=2)
    _, metrics = judge_folder(folder, None, sides.held_out[:100], threads=2)
    close(folder, metrics | {"train_rows": 0, "replay_rows": 0}, sides.training)


def new_rows(path: Path) -> None:
    """A hundred questions of the training side, each asked a little differently, so that they are new."""
    rows = list(seed_rows())
    random.Random(1).shuffle(rows)
    asked = [("老师好，" + row.question, row.intents) for row in rows if not is_held_out("老师好，" + row.question)][:NEW]
    lines = (json.dumps({"question": text, "intents": intents}, ensure_ascii=False) + "\n" for text, intents in asked)
    path.write_text("".join(lines), encoding="utf-8")


def peak_of(pid: int) -> float:
    """The most memory that process `pid` has held so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(parent: Path, folder: Path, console: Console) -> None:
    """Train from `parent` in a child, and print the stages."""
    data, out = folder / "data.jsonl", folder / "v1"
    new_rows(data)
    command = [sys.executable, "-m", "intentloop", "train", "--data", str(data), "--parent", str(parent), "--out", str(out)]
    began = time.monotonic()
    stages: dict[str, float] = {}
    peaks: dict[str, float] = {}
    verdict = ""
    child = subprocess.Popen(
        [*command, "--version", "v1", "--progress"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        said = json.loads(line)
        if "progress" in said:
            stage = said["progress"]["stage"]
            if stage not in stages:
                stages[stage] = time.monotonic() - began
                peaks[stage] = peak_of(child.pid)
        else:
            verdict = f"{said['result']['outcome']}: {said['result']['reason']}"
    assert child.wait() == 0
    whole = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    table = Table(title=f"{NEW} new labels from {parent.name}; {machine()}", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("peak MB at its start", justify="right")
    starts = [*stages.items(), ("end", whole)]
    table.add_row("start", f"{starts[0][1]:.1f}")
    for (name, start), (_, end) in itertools.pairwise(starts):
        table.add_row(name, f"{end - start:.1f}", f"{peaks[name]:,.0f}")
    table.add_row("whole", f"{whole:.1f}")
    console.print(table)
    console.print(f"peak memory of the process: {peak:,.0f} MB; {verdict}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--built-in", action="store_true", help="from v0 instead of a model of base size")
    built_in = parser.parse_args().built_in
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="ilb-") as name:
        folder = Path(name)
        if not built_in:
            console.print("making a model of 12 layers of 768 with random weights")
            make_large(folder / "v0")
        measure(V0 if built_in else folder / "v0", folder, console)


if __name__ == "__main__":
    main()
