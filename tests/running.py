"""Real processes of the system under test, and waiting for what they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from schema.settings import Settings, environment

ROOT = Path(__file__).parent.parent


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Look until `condition` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)  # the condition is another process's state: nothing to await


class Process:
    """``intentloop NAME`` with `settings`; its log is in ``var/NAME.log``."""

    def __init__(self, settings: Settings, name: str, port: int) -> None:
        self.settings = settings
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.log = settings.var / f"{name}-{port}.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("INTENTLOOP_")} | environment(settings)
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "intentloop", name], env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def ready(self, seconds: float = 40.0) -> Self:
        """Wait until /readyz says so."""

        def answers() -> bool:
            assert self.child.poll() is None, f"{self.name} ended with {self.child.returncode}: {self.tail()}"
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        try:
            wait_until(answers, f"{self.name} is ready", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        return self

    def kill(self) -> None:
        """kill -9."""
        self.child.kill()
        self.child.wait(10)

    def end(self, seconds: float = 30.0) -> int:
        """SIGTERM; returns the exit status."""
        if self.child.poll() is None:
            self.child.terminate()
        return self.child.wait(seconds)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self.kill()
            if kind is None:
                raise


@contextmanager
def running(settings: Settings, *names: str) -> Iterator[dict[str, Process]]:
    """Start the named processes, wait until all are ready, end them afterwards."""
    ports = {
        "api": settings.api_port,
        "streams": settings.streams_port,
        "trainer": settings.trainer_port,
        "replica": settings.replica_port,
    }
    started: dict[str, Process] = {}
    try:
        for name in names:
            started[name] = Process(settings, name, ports[name])
        yield {name: process.ready() for name, process in started.items()}
    finally:
        for process in reversed(started.values()):
            process.__exit__(None, None, None)


def read_all(kafka: str, topic: str, partitions: int = 1) -> list[Message]:
    """All records that `topic` holds now."""
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": "tests", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    found, unread = [], set(range(partitions))
    deadline = time.monotonic() + 20
    while unread:
        assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
        message = consumer.poll(0.5)
        if message is None:
            continue
        if error := message.error():
            assert error.code() == KafkaError._PARTITION_EOF, error
            unread.discard(message.partition())
        else:
            found.append(message)
    consumer.close()
    return found
