"""Alembic migrations, run by ``intentloop migrate``."""
