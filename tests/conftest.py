"""What the tests share: one Kafka and one MariaDB per run, fresh topics and a fresh database per test.

Order of the servers: ``INTENTLOOP_KAFKA`` and ``INTENTLOOP_DATABASE_URL`` if set; else Docker, if an engine answers
(testcontainers); else the embedded ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, make_url

from schema.database import open_engine
from schema.migrate import create_database, migrate_database, migrate_topics
from schema.settings import Settings


def docker_answers() -> bool:
    """Whether a Docker engine can run containers here; ``INTENTLOOP_TEST_DOCKER=0`` says no without asking."""
    if os.environ.get("INTENTLOOP_TEST_DOCKER") == "0" or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short path (sockets have short names) for the servers' data."""
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def kafka(server_folder: Path) -> Iterator[str]:
    """Bootstrap servers of a real Kafka."""
    if given := os.environ.get("INTENTLOOP_KAFKA"):
        yield given
    elif docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer("apache/kafka:4.1.0") as container:
            yield container.get_bootstrap_server()
    else:
        from local.kafka import EmbeddedKafka

        with EmbeddedKafka(server_folder) as server:
            yield server.bootstrap


@pytest.fixture(scope="session")
def database_server(server_folder: Path) -> Iterator[Callable[[str], str]]:
    """A function from a database's name to its URL on a real MySQL or MariaDB."""
    if given := os.environ.get("INTENTLOOP_DATABASE_URL"):
        yield lambda name: make_url(given).set(database=name).render_as_string(hide_password=False)
    elif docker_answers():
        from testcontainers.community.mysql import MySqlContainer

        with MySqlContainer("mysql:8.4", username="root", dialect="pymysql") as container:
            base = make_url(container.get_connection_url())
            yield lambda name: base.set(database=name).render_as_string(hide_password=False)
    else:
        from local.mariadb import EmbeddedMariaDB

        with EmbeddedMariaDB(server_folder) as server:
            yield server.url


@pytest.fixture
def database_url(database_server: Callable[[str], str]) -> str:
    """A fresh, empty database."""
    url = database_server(f"t_{uuid.uuid4().hex[:12]}")
    create_database(url)
    return url


@pytest.fixture
def settings(kafka: str, database_url: str, tmp_path: Path) -> Settings:
    """Settings for a fresh system: migrated tables and topics of its own, free ports."""
    from local.ports import free_port

    fresh = Settings(
        kafka=kafka,
        database_url=SecretStr(database_url),
        topic_prefix=f"t{uuid.uuid4().hex[:8]}.",
        pseudonym_key=SecretStr("a key for tests only"),
        var=tmp_path / "var",
        api_port=free_port(),
        replica_port=free_port(),
        streams_port=free_port(),
        trainer_port=free_port(),
        session_timeout=6.0,
    )
    fresh.var.mkdir()
    migrate_topics(fresh)
    engine = open_engine(database_url)
    migrate_database(engine)
    engine.dispose()
    return fresh


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine on the fresh system's database."""
    opened = open_engine(settings.database_url.get_secret_value())
    yield opened
    opened.dispose()
