"""A hundred swaps of the model under constant load, on two real replicas: what users feel, and what stays behind.

``python -m bench.reload``. Prints the failed requests, p99 with and without swaps, the time from an activation to serving on
both replicas, and the memory before and after. Swaps follow each other without a pause: that is the worst case.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import ClientError, ClientSession
from rich.console import Console
from rich.table import Table

from bench.processes import Measured
from bench.servers import machine, servers
from inference.artefact import manifest_sha256, publish, read_manifest, seal
from intentloop import BUILTIN
from local.ports import free_port
from local.supervisor import is_ready
from schema.events import ModelActivated
from schema.producer import EventProducer
from schema.settings import Settings, environment
from schema.topics import MODEL_ACTIVATED

QUESTION = {"question": "今年事业和财运哪个好"}
CLIENTS = 2
PAUSE_SECONDS = 0.01
QUIET_SECONDS = 20.0


@dataclass
class Answers:
    """Seconds of each answer, and what failed."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def p99_ms(self) -> float:
        """Milliseconds."""
        return 1000 * statistics.quantiles(self.seconds, n=100)[98]


@asynccontextmanager
async def load(urls: list[str]) -> AsyncIterator[Answers]:
    """Clients that ask each replica one question after another, with a short pause."""
    seen, stop = Answers(), asyncio.Event()

    async def client(url: str) -> None:
        async with ClientSession() as http:
            while not stop.is_set():
                began = time.perf_counter()
                try:
                    async with http.post(url, json=QUESTION) as response:
                        await response.read()
                        seen.seconds.append(time.perf_counter() - began)
                        if response.status != 200:
                            seen.failed.append(str(response.status))
                except (ClientError, TimeoutError, OSError) as error:
                    seen.failed.append(repr(error))
                await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(client(url)) for url in urls for _ in range(CLIENTS)]
    try:
        yield seen
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def versions(settings: Settings, folder: Path) -> list[ModelActivated]:
    """v0 and two versions with its files, published; as activations without a generation of their own."""
    made = []
    for version in ("v0", "one", "two"):
        copy = folder / version
        shutil.copytree(BUILTIN, copy)
        if version != "v0":
            seal(copy, read_manifest(copy).model_dump(exclude={"files"}) | {"version": version, "parent": "v0"})
        made.append(
            ModelActivated(
                generation=1,
                version=version,
                rules_revision=0,
                model_url=publish(copy, settings.models),
                manifest_sha256=manifest_sha256(copy),
                activated_by="bench",
                reason="bench",
                activated_at=datetime.now(UTC),
            )
        )
    return made


async def all_serve(urls: list[str], version: str) -> None:
    """Ask each replica until it answers with `version`."""
    async with ClientSession() as http, asyncio.timeout(60):
        for url in urls:
            said = ""
            while said != version:
                async with http.post(url, json=QUESTION) as response:
                    said = (await response.json()).get("model_version", "")


async def measure(urls: list[str], replicas: list[Measured], settings: Settings, made: list[ModelActivated], swaps: int) -> Table:
    """The whole run; returns the table."""
    seconds, memory = [], []
    with EventProducer(settings, source="bench") as producer:
        async with load(urls) as quiet:
            await asyncio.sleep(QUIET_SECONDS)
        async with load(urls) as swapped:
            for swap in range(swaps):
                wanted = made[1 + swap % 2].model_copy(update={"generation": swap + 2, "activated_at": datetime.now(UTC)})
                began = time.perf_counter()
                await asyncio.wrap_future(producer.send(MODEL_ACTIVATED, wanted, key="serving"))
                await all_serve(urls, wanted.version)
                seconds.append(time.perf_counter() - began)
                memory.append(sum(resident_mb(replica) for replica in replicas))
    table = Table(title=f"{swaps} swaps on two replicas; {machine()}", title_justify="left", show_header=False)
    table.add_row("requests without swaps, with", f"{len(quiet.seconds)}, {len(swapped.seconds)}")
    table.add_row("failed", f"{len(quiet.failed)}, {len(swapped.failed)} {' '.join(sorted(set(swapped.failed)))}")
    table.add_row("p99", f"{quiet.p99_ms():.1f} ms, {swapped.p99_ms():.1f} ms: {swapped.p99_ms() / quiet.p99_ms():.2f} times")
    table.add_row("activation to serving on both", f"median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s")
    last, before = statistics.median(memory[-20:]), statistics.median(memory[-40:-20])
    table.add_row(
        "memory of both, swaps 60 to 80, 80 to 100", f"{before:.0f} MB, {last:.0f} MB: {100 * (last / before - 1):+.1f} %"
    )
    return table


def resident_mb(replica: Measured) -> float:
    """What a replica has in memory now."""
    lines = Path(f"/proc/{replica.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--swaps", type=int, default=100)
    arguments = parser.parse_args()
    with servers() as given, ExitStack() as stack:
        settings = given.system()
        both = [settings, settings.model_copy(update={"replica_port": free_port()})]
        made = versions(settings, given.folder)
        with EventProducer(settings, source="bench") as producer:
            producer.send(MODEL_ACTIVATED, made[0], key="serving").result(10)
        replicas = [
            stack.enter_context(Measured.intentloop("replica", environment(one), settings.var / f"replica-{number}.log"))
            for number, one in enumerate(both)
        ]
        roots = [f"http://{one.host}:{one.replica_port}" for one in both]
        while not all(map(is_ready, roots)):
            for replica in replicas:
                replica.alive()
            time.sleep(0.05)  # another process's state: nothing to await
        urls = [f"{root}/v1/classify" for root in roots]
        Console(width=120).print(asyncio.run(measure(urls, replicas, settings, made, arguments.swaps)))


if __name__ == "__main__":
    main()
