"""Engines, transactions, and which database error means what.

Deadlocks and lost connections are repeated as whole transactions; what the data itself causes is never repeated.
Error numbers: MySQL reference manual, "Server Error Message Reference" and "InnoDB Error Handling".
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, make_url, select, text
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schema.errors import ConfigError, EventError, IntentLoopError, TransientError
from schema.tables import LOCKS, intent_locks

REPEAT_AT_ONCE: Final = frozenset({1062, 1205, 1213})
"""Another was faster (duplicate key, lock wait timeout, deadlock): roll back and run the whole transaction again."""

REFUSED_DATA: Final = frozenset({1048, 1264, 1265, 1292, 1366, 1406, 1452, 3140, 3819, 4025})
"""The row itself is at fault: repeating cannot help."""

_ATTEMPTS: Final = 5
_SESSION: Final = "SET time_zone = '+00:00' /*M!100300 , idle_transaction_timeout = 15 */"
"""MariaDB ends a transaction whose process says nothing for 15 s, frozen for instance: its locks would hold up all others.
MySQL, which reads a comment there, has no such limit."""


class RowRefused(EventError):
    """The database refused a value of a row. Split the batch to find which."""


def open_engine(url: str, *, pool_size: int = 5, timeout: float = 30.0) -> Engine:
    """An engine for `url`: READ COMMITTED, UTC, connections checked before use and renewed before servers drop them.

    A server that is silent for `timeout` seconds counts as away.

    Raises:
        ConfigError: the URL cannot be read, or is not for MySQL or MariaDB.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in {"mysql", "mariadb"}:
            raise ConfigError("INTENTLOOP_DATABASE_URL must look like mysql+pymysql://user:password@host:3306/database")
        return create_engine(
            parsed.update_query_dict({"charset": "utf8mb4"}),
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=5,
            pool_pre_ping=True,
            pool_recycle=1800,
            pool_timeout=10,
            hide_parameters=True,
            json_serializer=partial(json.dumps, ensure_ascii=False, separators=(",", ":")),  # Chinese stays searchable
            connect_args={
                "connect_timeout": 10,
                "read_timeout": timeout,
                "write_timeout": timeout,
                "init_command": _SESSION,
            },
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"INTENTLOOP_DATABASE_URL cannot be read: {error}") from None


def error_number(error: DBAPIError) -> int:
    """The server's error number, or 0 where there is none."""
    first = error.orig.args[0] if error.orig is not None and error.orig.args else 0
    return first if isinstance(first, int) else 0


def classify(error: DBAPIError | PoolTimeout) -> IntentLoopError:
    """What `error` means for the caller: `RowRefused` for bad data, else `TransientError`."""
    if isinstance(error, PoolTimeout):
        return TransientError("no database connection became free")
    number = error_number(error)
    if number in REFUSED_DATA:
        return RowRefused("refused_by_database", f"the database refused the row (error {number})")
    return TransientError(f"database error {number}: {type(error.orig).__name__}")


T = TypeVar("T")


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction and commit it; on a deadlock run all of it again, at most five times.

    `work` must be safe to repeat: after a connection lost around COMMIT the outcome is unknown.

    Raises:
        RowRefused: a value that the database will never take.
        TransientError: the database is away, or the deadlocks did not end.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if error_number(error) not in REPEAT_AT_ONCE or attempt == _ATTEMPTS:
                raise classify(error) from error
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # neighbours that collided must not collide again
        except PoolTimeout as error:
            raise classify(error) from error
    raise AssertionError("unreachable")


def hold_lock(connection: Connection, name: str) -> None:
    """Hold the lock `name` until this transaction ends; waits while another holds it."""
    assert name in LOCKS
    connection.execute(select(intent_locks.c.name).where(intent_locks.c.name == name).with_for_update()).one()


def add_locks(connection: Connection) -> None:
    """Make the rows that `hold_lock` locks."""
    statement = insert(intent_locks).values([{"name": name} for name in LOCKS])
    connection.execute(statement.on_duplicate_key_update(name=statement.inserted.name))


def ping(engine: Engine) -> None:
    """Ask the database for an answer.

    Raises:
        TransientError: it gave none.
    """
    in_transaction(engine, lambda connection: connection.execute(text("SELECT 1")).scalar_one())
