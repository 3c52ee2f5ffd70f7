"""What the benches run on: embedded servers in a folder of their own, fresh databases, and a line about the machine."""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from local.kafka import EmbeddedKafka
from local.mariadb import EmbeddedMariaDB
from local.ports import free_port
from schema.database import open_engine
from schema.migrate import create_database, migrate_database, migrate_topics
from schema.settings import Settings


@dataclass(frozen=True, slots=True)
class Servers:
    """A running Kafka and MariaDB."""

    folder: Path
    kafka: EmbeddedKafka
    mariadb: EmbeddedMariaDB

    def system(self, prefix: str | None = None) -> Settings:
        """Settings of a fresh database; topics under `prefix`, by default fresh ones too."""
        name = f"b{uuid.uuid4().hex[:8]}"
        settings = Settings(
            kafka=self.kafka.bootstrap,
            database_url=SecretStr(self.mariadb.url(name)),
            topic_prefix=f"{name}." if prefix is None else prefix,
            pseudonym_key=SecretStr("a key for benches only"),
            var=self.folder / name,
            api_port=free_port(),
            replica_port=free_port(),
            streams_port=free_port(),
            trainer_port=free_port(),
            session_timeout=6.0,
            log_level="warning",
        )
        settings.var.mkdir()
        create_database(settings.database_url.get_secret_value())
        engine = open_engine(settings.database_url.get_secret_value())
        migrate_database(engine)
        engine.dispose()
        if prefix is None:
            migrate_topics(settings)
        return settings


@contextmanager
def servers() -> Iterator[Servers]:
    """Kafka and MariaDB in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ilb-") as name:
        folder = Path(name)
        with EmbeddedKafka(folder) as kafka, EmbeddedMariaDB(folder) as mariadb:
            yield Servers(folder, kafka, mariadb)


def machine() -> str:
    """The machine's size, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
