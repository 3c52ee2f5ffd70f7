"""Migration: repeatable, equal to the metadata and to the SQL file, and honest about topics that differ."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, inspect, select, text

from schema import rollups
from schema.database import open_engine
from schema.errors import ConfigError
from schema.ids import uuid7
from schema.keyword_windows import count_window
from schema.migrate import MIGRATIONS, create_database, migrate_database, migrate_topics, tables_sql, wanted_topics
from schema.settings import Settings
from schema.tables import LOCKS, metadata, utc_now
from schema.tables import intent_keyword_counts as counts
from schema.tables import intent_user_questions as questions
from streams.rollups import recount


def test_migrating_again_changes_nothing(settings: Settings, engine: Engine) -> None:
    assert migrate_topics(settings) == []
    migrate_database(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM intent_locks")).scalar_one() == len(LOCKS)


def test_the_migrations_make_what_the_code_says(engine: Engine) -> None:
    with engine.connect() as connection:
        opts = {
            "target_metadata": metadata,
            "compare_type": True,
            # MySQL writes the text of generated columns back otherwise; the SQL file's test compares it as the server has it
            "autogenerate_plugins": ["alembic.autogenerate.*", "~alembic.autogenerate.defaults"],
        }
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, metadata) == []


def columns_and_keys(engine: Engine) -> dict[str, object]:
    """What a server says of each table, in comparable form."""
    server = inspect(engine)
    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"], c["comment"], c.get("computed"))
                for c in server.get_columns(table)
            ],
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


@pytest.fixture
def old(database_server: Callable[[str], str]) -> Iterator[Engine]:
    """A database as 0001 left it."""
    url = database_server(f"t_{uuid.uuid4().hex[:12]}")
    create_database(url)
    first = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with first.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    yield first
    first.dispose()


def old_rows() -> Iterator[dict[str, Any]]:
    """Questions of every kind, as the code before 0002 wrote them."""
    now = utc_now()
    for n in range(60):
        labeled, consent = n % 3 == 0, n % 5 > 0
        yield {
            "event_id": uuid7().bytes,
            "question": "今年财运如何",
            "text_hash": bytes(16),
            "user_id": f"u{n % 7}",
            "intents": [["wealth"], ["career", "wealth"], None][n % 3],
            "confidence": [0.25, None, 1, 0.0049][n % 4],
            "method": ["local_model", "llm_fallback", None][n % 3],
            "response_time_ms": [7, None][n % 2],
            "model_version": ["v0", "v1", None][n % 3],
            "is_labeled": labeled and consent,
            "correct_intent": [["wealth"], ["wealth", "career"]][n % 2] if labeled and consent else None,
            "training_status": "skipped" if not consent else "used" if labeled and n % 2 else "pending",
            "consent_training": consent,
            "consent_stated": n % 4 > 0,
            "asked_at": now - timedelta(days=n),
            "created_at": now - timedelta(days=n),
            "updated_at": now,
        }


def test_an_older_database_is_upgraded_with_its_data(old: Engine, engine: Engine) -> None:
    """Rows are kept, the rollups equal a recount, windows begin at the upgrade, and the tables are those of a new database."""
    with old.begin() as connection:
        connection.execute(questions.insert(), list(old_rows()))
        connection.execute(counts.insert(), {"keyword": "财运", "intent": "wealth", "total": 9, "updated_at": utc_now()})
    migrate_database(old)
    with old.begin() as connection:
        kept = rollups.read(connection)
        assert kept == recount(connection)
        assert (kept[rollups.TOTAL], kept["correct", "v0"]) == (60, 8)
        ids = connection.execute(select(questions.c.id).where(questions.c.waiting_band.is_not(None)).order_by(questions.c.id))
        assert len(ids.all()) == kept[rollups.WAITING]
        banded = select(questions.c.confidence, questions.c.waiting_band).where(questions.c.waiting_band.is_not(None)).distinct()
        assert {row.waiting_band for row in connection.execute(banded)} == {0, 1, 51, 201}
        assert count_window(connection, "day", utc_now(), intent=None, limit=9).rows == []
        connection.execute(counts.update().values(total=10))
        assert [row.total for row in count_window(connection, "day", utc_now(), intent=None, limit=9).rows] == [10]
    assert columns_and_keys(old) == columns_and_keys(engine)


def test_a_migration_that_was_cut_off_goes_on(old: Engine, engine: Engine) -> None:
    """DDL is committed at once, the mark of the revision only at the end: what was done is not done again."""
    with old.begin() as connection:
        connection.execute(questions.insert(), list(old_rows()))
    migrate_database(old)
    with old.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    migrate_database(old)
    with old.connect() as connection:
        assert rollups.read(connection) == recount(connection)
    assert columns_and_keys(old) == columns_and_keys(engine)
