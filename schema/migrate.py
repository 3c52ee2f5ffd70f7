"""Create what is missing, change nothing else: the database, its tables, the topics. May be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from sqlalchemy import Engine, Index, make_url, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from schema.database import add_locks, classify, error_number, open_engine
from schema.errors import ConfigError, TransientError
from schema.producer import client_config
from schema.settings import Settings
from schema.tables import LOCKS, metadata
from schema.topics import DEAD_LETTER_RETENTION_MS, MAX_RECORD_BYTES, TOPICS

UNKNOWN_DATABASE: Final = 1049
COMPACTION: Final = {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
"""The segment that is written to is never compacted: by default it holds a week, and whoever starts would read all of it."""
MIGRATIONS: Final = Path(__file__).with_name("migrations")
LONGEST_STATEMENT: Final = 4 * 3600.0
"""Seconds that one statement of a migration may take: some rewrite a table."""


def migrate_database(engine: Engine) -> None:
    """Bring the tables to the newest revision and make the lock rows.

    Raises:
        ConfigError: the server refused (unknown database, missing grant).
        TransientError: the server is away.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    patient = open_engine(engine.url.render_as_string(hide_password=False), pool_size=1, timeout=LONGEST_STATEMENT)
    try:
        with patient.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            add_locks(connection)
    except DBAPIError as error:
        raise classify(error) from error
    finally:
        patient.dispose()


def create_database(url: str) -> None:
    """Create the database that `url` names, if the server lacks it and the user may."""
    parsed = make_url(url)
    name = parsed.database or ""
    if not name.replace("_", "").isalnum():
        raise ConfigError(f"INTENTLOOP_DATABASE_URL names no usable database: {name!r}")
    if _exists(url):
        return
    engine = open_engine(parsed.set(database="").render_as_string(hide_password=False))
    try:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
    except DBAPIError as error:
        raise ConfigError(f"the database {name} cannot be created: {classify(error)}") from None
    finally:
        engine.dispose()


def _exists(url: str) -> bool:
    """Whether the database answers under its name."""
    engine = open_engine(url)
    try:
        with engine.connect():
            return True
    except DBAPIError as error:
        if error_number(error) == UNKNOWN_DATABASE:
            return False
        raise ConfigError(f"the database does not let us in: {error.orig}") from None
    finally:
        engine.dispose()


def wanted_topics(settings: Settings) -> dict[str, NewTopic]:
    """Every topic by name, dead-letter topics too."""
    wanted = {}
    for topic in TOPICS:
        layout: dict[str, str] = {"cleanup.policy": topic.cleanup}
        if topic.cleanup == "delete":
            layout["retention.ms"] = str(topic.retention_ms)
        else:
            layout |= COMPACTION
        wanted[topic.name(settings.topic_prefix)] = _new(settings, topic.name(settings.topic_prefix), topic.partitions, layout)
        if topic.dead_letters:
            name = topic.dead_letter_name(settings.topic_prefix)
            layout = {
                "cleanup.policy": "delete",
                "retention.ms": str(DEAD_LETTER_RETENTION_MS),
                "max.message.bytes": str(MAX_RECORD_BYTES),  # a letter is larger than its record
            }
            wanted[name] = _new(settings, name, 1, layout)
    return wanted


def _new(settings: Settings, name: str, partitions: int, layout: dict[str, str]) -> NewTopic:
    return NewTopic(name, num_partitions=partitions, replication_factor=settings.replication_factor, config=layout)


def migrate_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises:
        ConfigError: a topic exists with another partition count or cleanup policy; all of them are named.
        TransientError: the cluster did not answer.
    """
    admin = AdminClient(client_config(settings))
    wanted = wanted_topics(settings)
    try:
        present = admin.list_topics(timeout=15).topics
        missing = [topic for name, topic in wanted.items() if name not in present]
        for future in admin.create_topics(missing).values() if missing else ():
            _ignore_existing(future)
        faults = list(_wrong_layouts(admin, wanted, {n: len(t.partitions) for n, t in present.items()}))
    except KafkaException as error:
        raise TransientError(f"Kafka at {settings.kafka} does not answer: {error.args[0].str()}") from None
    if faults:
        raise ConfigError("topics are laid out otherwise than intentloop needs: " + "; ".join(faults))
    return [topic.topic for topic in missing]


def _ignore_existing(future: object) -> None:
    try:
        future.result()  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def _wrong_layouts(admin: AdminClient, wanted: dict[str, NewTopic], partitions: dict[str, int]) -> Iterator[str]:
    """Say where an existing topic differs from what is wanted, and what to do."""
    existing = [name for name in wanted if name in partitions]
    for name in existing:
        if partitions[name] != wanted[name].num_partitions:
            yield f"{name} has {partitions[name]} partitions, not {wanted[name].num_partitions}"
    if not existing:
        return
    found = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in existing])
    for resource, future in found.items():
        policy = future.result()["cleanup.policy"].value
        needed = (wanted[resource.name].config or {})["cleanup.policy"]
        if policy != needed:
            yield f"{resource.name} has cleanup.policy={policy}, not {needed}"


def tables_sql() -> str:
    """All tables as SQL for MySQL and MariaDB, repeatable: the text of ``create_intent_training_tables.sql``.

    It marks the newest revision, so that a later ``intentloop migrate`` goes on from there.
    """
    dialect = mysql.dialect()
    parts = ["-- Made by `make contract` from schema/tables.py. For mysql < FILE.\nSET NAMES utf8mb4;"]
    for table in metadata.sorted_tables:
        create = str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)).strip()
        # MySQL has no CREATE INDEX IF NOT EXISTS, so the indexes stand inside.
        keys = [f",\n\tKEY {i.name} ({', '.join(c.name for c in i.columns)})" for i in sorted(table.indexes, key=_name)]
        parts.append(create.replace("\n)ENGINE", "".join(keys) + "\n)ENGINE") + ";")
    rows = ", ".join(f"('{name}')" for name in LOCKS)
    parts.append(f"INSERT IGNORE INTO intent_locks (name) VALUES {rows};")
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    parts.append("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);")
    # An older database keeps its mark: the statements above leave its tables as they are, `intentloop migrate` changes them.
    unmarked = "WHERE NOT EXISTS (SELECT 1 FROM alembic_version AS marked)"
    parts.append(f"INSERT INTO alembic_version (version_num) SELECT '{head}' FROM DUAL {unmarked};")
    return "\n\n".join("\n".join(line.rstrip() for line in part.splitlines()) for part in parts) + "\n"


def _name(index: Index) -> str:
    return str(index.name)
