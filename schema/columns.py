"""What every table is made of: one metadata, the options of all tables, and the kinds of columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Computed, MetaData
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)
OPTIONS: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def utc_now() -> datetime:
    """Now, as the tables keep it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    """A moment in UTC, to the microsecond."""
    return Column(name, DATETIME(fsp=6), nullable=nullable)


def json_value() -> TypeEngine[Any]:
    """JSON in which None is NULL."""
    return JSON(none_as_null=True)


def derived(name: str, kind: TypeEngine[Any], sql: str, comment: str) -> Column[Any]:
    """A column that the server keeps; stored, because servers purge indexes over virtual columns slowly."""
    return Column(name, kind, Computed(sql, persisted=True), comment=comment)


def number() -> Column[int]:
    """The primary key `id`, given by the server."""
    return Column("id", BigInteger, primary_key=True, autoincrement=True)
