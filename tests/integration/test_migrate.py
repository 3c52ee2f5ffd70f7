"""Migration: repeatable, equal to the metadata and to the SQL file, and honest about topics that differ."""

from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, inspect, text

from schema.database import open_engine
from schema.errors import ConfigError
from schema.migrate import create_database, migrate_database, migrate_topics, tables_sql, wanted_topics
from schema.settings import Settings
from schema.tables import metadata


def test_migrating_again_changes_nothing(settings: Settings, engine: Engine) -> None:
    assert migrate_topics(settings) == []
    migrate_database(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM intent_locks")).scalar_one() == 3


def test_the_migrations_make_what_the_code_says(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def columns_and_keys(engine: Engine) -> dict[str, object]:
    """What a server says of each table, in comparable form."""
    server = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"], c["comment"]) for c in server.get_columns(table)],
            sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in server.get_indexes(table)),
            server.get_pk_constraint(table)["constrained_columns"],
        )
        for table in server.get_table_names()
    }


def test_the_sql_file_makes_the_same_tables_and_may_be_repeated(
    engine: Engine, database_server: Callable[[str], str], database_url: str
) -> None:
    name = database_url.rsplit("/", 1)[1].split("?")[0] + "_sql"
    url = database_server(name)
    create_database(url)
    other = open_engine(url)
    for _ in range(2):
        with other.begin() as connection:
            for statement in tables_sql().split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
    assert columns_and_keys(other) == columns_and_keys(engine)
    migrate_database(other)
    other.dispose()


def test_a_topic_that_is_laid_out_otherwise_is_reported(kafka: str, settings: Settings) -> None:
    prefix = f"{settings.topic_prefix}x."
    other = settings.model_copy(update={"topic_prefix": prefix})
    admin = AdminClient({"bootstrap.servers": kafka})
    wrong = [
        NewTopic(f"{prefix}question.asked", num_partitions=2, replication_factor=1),
        NewTopic(f"{prefix}model.activated", num_partitions=1, replication_factor=1),
    ]
    for future in admin.create_topics(wrong).values():
        future.result()
    with pytest.raises(ConfigError) as caught:
        migrate_topics(other)
    assert f"{prefix}question.asked has 2 partitions, not 12" in str(caught.value)
    assert f"{prefix}model.activated has cleanup.policy=delete, not compact" in str(caught.value)


def test_every_topic_that_is_consumed_has_dead_letters(settings: Settings) -> None:
    names = {name.removeprefix(settings.topic_prefix) for name in wanted_topics(settings)}
    assert {"question.asked.dlq", "question.labeled.dlq", "label.applied.dlq", "training.requested.dlq"} <= names
