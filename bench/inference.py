"""How fast a replica answers: ``python -m bench.inference``.

Two models: a BERT of base size (12 layers of 768) with random weights, and the built-in version v0. Of each, on the same
questions of the seed corpus and in one run: the same weights in eager torch and in ONNX Runtime fp32, the predictor, the whole
answer of model and rules; then a real replica over HTTP, asked by one client and by many. Times are medians over the rounds
of each round's quantile; what is compared takes turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from bench.clients import Seen, at_once, one_by_one, request, side_by_side
from bench.large import make_large
from bench.processes import Measured
from bench.servers import Servers, machine, servers
from inference.artefact import manifest_sha256, publish, read_manifest
from inference.pipeline import Pipeline
from inference.predictor import Predictor, prepare
from local.supervisor import is_ready
from schema.events import ModelActivated
from schema.producer import EventProducer
from schema.settings import Settings, environment
from schema.text import is_held_out
from schema.topics import MODEL_ACTIVATED
from training.base import V0
from training.corpus import seed_rows
from training.graph import bert_graph
from training.network import IntentClassifier

THREADS = 2
CONFIDENCE = 0.6
TOO_MANY = 100
"""Questions beyond the queue's limit that are asked at once."""


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of an answer, and answers a second."""

    p50: float
    p99: float
    rate: float

    @classmethod
    def of(cls, rounds: Sequence[tuple[Sequence[float], float]]) -> Took:
        """The medians over `rounds`: the milliseconds of each, and the seconds that it took."""
        return cls(
            p50=statistics.median(float(np.percentile(times, 50)) for times, _ in rounds),
            p99=statistics.median(float(np.percentile(times, 99)) for times, _ in rounds),
            rate=statistics.median(len(times) / seconds for times, seconds in rounds),
        )


@dataclass(frozen=True, slots=True)
class OverHttp:
    """What a replica did."""

    alone: Took
    loaded: Took
    failed: int
    megabytes: float
    peak_megabytes: float
    has_torch: bool
    overload: str
    deadline: str


def chosen(number: int) -> list[str]:
    """Held-out questions of the seed corpus."""
    rows = [row.question for row in seed_rows() if is_held_out(row.question)]
    return random.Random(3).sample(rows, min(number, len(rows)))


def contenders(folder: Path, scratch: Path, questions: Sequence[str]) -> dict[str, Callable[[int], object]]:
    """What is compared in one process: each answers the question of a number."""
    torch.set_num_threads(THREADS)
    model = IntentClassifier.from_pretrained(folder / "weights").float().eval()
    onnx.save(bert_graph(model, int8=False), scratch / "fp32.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(scratch / "fp32.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(read_manifest(folder).max_length)
    tokens = [np.array([tokenizer.encode(prepare(question)).ids], dtype=np.int64) for question in questions]
    predictor = Predictor.load(folder, threads=THREADS)
    pipeline = Pipeline.load(folder, threads=THREADS, confidence=CONFIDENCE)

    def eager(i: int) -> object:
        with torch.inference_mode():
            ids = torch.from_numpy(tokens[i])
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    return {
        "torch, eager, fp32": eager,
        "ONNX Runtime, fp32": lambda i: session.run(None, {"input_ids": tokens[i], "attention_mask": np.ones_like(tokens[i])}),
        "predictor: mask, tokens, both halves": lambda i: predictor.probabilities([questions[i]]),
        "whole answer: and rules, words, years": lambda i: pipeline.answer_local(questions[i]),
    }


def in_process(folder: Path, scratch: Path, questions: Sequence[str], rounds: int) -> dict[str, Took]:
    """One question at a time, each contender's round after the other's."""
    found: dict[str, list[tuple[list[float], float]]] = {}
    compared = contenders(folder, scratch, questions)
    for number in range(rounds + 1):
        for name, answer in compared.items():
            times = []
            for i in range(len(questions)):
                began = time.perf_counter()
                answer(i)
                times.append(1000 * (time.perf_counter() - began))
            if number:  # the first is for warming up
                found.setdefault(name, []).append((times, sum(times) / 1000))
    return {name: Took.of(rounds_of) for name, rounds_of in found.items()}


def activate(settings: Settings, folder: Path) -> None:
    """Publish the artefact in `folder`, and say that it serves."""
    event = ModelActivated(
        generation=1,
        version=read_manifest(folder).version,
        rules_revision=0,
        model_url=publish(folder, settings.models),
        manifest_sha256=manifest_sha256(folder),
        activated_by="bench",
        reason="bench",
        activated_at=datetime.now(UTC),
    )
    with EventProducer(settings, source="bench") as producer:
        producer.send(MODEL_ACTIVATED, event, key="serving").result(10)


async def over_http(on: Servers, folder: Path, questions: Sequence[str], arguments: argparse.Namespace) -> OverHttp:
    """A real replica that serves the artefact in `folder`."""
    settings = on.system()
    await asyncio.to_thread(activate, settings, folder)
    port = settings.replica_port
    requests = [request(question) for question in questions]
    log = settings.var / "replica.log"
    with Measured.intentloop("replica", environment(settings), log) as replica:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(is_ready, f"http://127.0.0.1:{port}"):
                replica.alive()
                await asyncio.sleep(0.1)
        await one_by_one(port, requests)  # warm
        alone, loaded, failed = [], [], 0
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            seen = await one_by_one(port, requests)
            alone.append((seen.milliseconds, time.perf_counter() - began))
            failed += sum(status != 200 for status in seen.statuses)
            endless = itertools.cycle(random.sample(requests, len(requests)))
            seen, took = await side_by_side(port, endless, arguments.clients, arguments.seconds)
            loaded.append((seen.milliseconds, took))
            failed += sum(status != 200 for status in seen.statuses)
        pid = replica.process.pid
        return OverHttp(
            alone=Took.of(alone),
            loaded=Took.of(loaded),
            failed=failed,
            megabytes=resident(pid),
            has_torch=has_torch(pid),
            overload=overload(await at_once(port, [requests[0]] * (settings.answer_queue + TOO_MANY))),
            deadline=await deadlines(port, questions[0] * 50),
            peak_megabytes=replica.peak_mb(),
        )


def resident(pid: int) -> float:
    """Megabytes of process `pid` in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def has_torch(pid: int) -> bool:
    """Whether process `pid` has a file of torch in memory."""
    return "torch" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def overload(seen: Seen) -> str:
    """What became of more questions at once than may wait."""
    refused = [i for i, status in enumerate(seen.statuses) if status == 503]
    answered = [seen.milliseconds[i] for i, status in enumerate(seen.statuses) if status == 200]
    slowest = max((seen.milliseconds[i] for i in refused), default=0.0)
    polite = sum(seen.retry_after[i] is not None for i in refused)
    return (
        f"{len(seen.statuses)} at once: {len(answered)} answered within {max(answered, default=0.0):.0f} ms,"
        f" {len(refused)} refused (503) within {slowest:.0f} ms, {polite} of them told when to come again"
    )


async def deadlines(port: int, question: str) -> str:
    """What became of questions with little time, of which one must wait for the other."""
    seen = await at_once(port, [request(question, timeout_ms=30)] * 64)
    kept = sorted(ms for status, ms in zip(seen.statuses, seen.milliseconds, strict=True) if status == 504)
    latest = f"the last of them after {kept[-1]:.0f} ms" if kept else ""
    return f"64 long questions with 30 ms each: {seen.statuses.count(200)} answered, {len(kept)} given up (504) {latest}"


def shown(title: str, took: dict[str, Took], http: OverHttp | None, clients: int) -> Table:
    """The figures of one model."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "p50 ms", "p99 ms", "per second", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    if took:
        slow = next(iter(took.values()))
        for name, one in took.items():
            ratio = f"{slow.p50 / one.p50:.1f}x torch"
            table.add_row(name, f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.rate:.0f}", "" if one is slow else ratio)
    if http is not None:
        alone, loaded = http.alone, http.loaded
        table.add_row("over HTTP, one client", f"{alone.p50:.2f}", f"{alone.p99:.2f}", f"{alone.rate:.0f}", "")
        more = f"{loaded.rate / alone.rate:.2f}x one client"
        table.add_row(f"over HTTP, {clients} clients", f"{loaded.p50:.1f}", f"{loaded.p99:.1f}", f"{loaded.rate:.0f}", more)
    return table


def measure(title: str, folder: Path, scratch: Path, on: Servers | None, arguments: argparse.Namespace, console: Console) -> None:
    """Measure one model, and print what was found."""
    questions = chosen(arguments.questions)
    took = in_process(folder, scratch, questions, arguments.rounds) if arguments.compare else {}
    http = asyncio.run(over_http(on, folder, questions, arguments)) if on is not None else None
    size = (folder / "model.onnx").stat().st_size / 1e6
    console.print(shown(f"{title}, {size:.0f} MB; {THREADS} threads; {machine()}", took, http, arguments.clients))
    if http is not None:
        torch_there = "torch is in memory" if http.has_torch else "without torch"
        console.print(f"replica: {http.megabytes:.0f} MB, at most {http.peak_megabytes:.0f}, {torch_there}; {http.failed} failed")
        console.print(http.overload)
        console.print(http.deadline)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--built-in", action="store_true", help="only the built-in model")
    which.add_argument("--model", type=Path, help="only the artefact in this folder, with weights/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=100, help="in a round of each contender")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5, help="of load in a round")
    parser.add_argument("--no-compare", dest="compare", action="store_false", help="over HTTP only")
    parser.add_argument("--no-http", dest="http", action="store_false", help="in one process only")
    arguments = parser.parse_args()
    console = Console(width=130, highlight=False)
    with tempfile.TemporaryDirectory(prefix="ilb-") as name:
        scratch = Path(name)
        models = {"Built-in": V0} if arguments.model is None else {arguments.model.name: arguments.model}
        if arguments.model is None and not arguments.built_in:
            make_large(scratch / "large")
            models = {"12 layers of 768": scratch / "large"} | models
        if not arguments.http:
            for title, folder in models.items():
                measure(title, folder, scratch, None, arguments, console)
            return
        with servers() as on:
            for title, folder in models.items():
                measure(title, folder, scratch, on, arguments, console)


if __name__ == "__main__":
    main()
