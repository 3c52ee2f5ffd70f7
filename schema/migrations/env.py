"""Alembic's environment: the connection is given by the caller, never read from a file."""

from __future__ import annotations

from alembic import context

from schema.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
