"""What ``intentloop migrate`` does: create what is missing, and register the built-in version. May be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from consumers.registry import register_builtin
from schema.database import open_engine
from schema.migrate import create_database, migrate_database, migrate_topics
from schema.settings import Settings


def first_start(settings: Settings, builtin: Path) -> Iterator[str]:
    """Create database, tables, topics and the first activation; yields a line for each step that is done.

    Raises:
        ConfigError: a setting is missing, or a topic is laid out otherwise than needed.
        TransientError: a server does not answer.
        ArtefactError: the built-in artefact is not whole, or the artefact store cannot be written.
    """
    settings.require("kafka", "database_url")
    url = settings.database_url.get_secret_value()
    create_database(url)
    engine = open_engine(url)
    try:
        migrate_database(engine)
        yield "tables: up to date"
        made = migrate_topics(settings)
        yield f"topics: {len(made)} created" if made else "topics: up to date"
        register_builtin(settings, engine, builtin)
        yield f"models: {settings.models}"
    finally:
        engine.dispose()
