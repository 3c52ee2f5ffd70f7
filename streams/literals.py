"""Multi-row statements whose values are written into the text here, several times faster than bound parameters.

Binding costs more than everything else in the ingestion of a question: SQLAlchemy processes and PyMySQL escapes each of
thirty values per row through several calls. Here each column gets one function from a value to SQL, chosen once by its
type. In text, backslashes and quotes are doubled, which is all that can end a literal or change what follows (MySQL
reference manual, "String Literals"). It holds while the server reads backslashes as escapes, sql_mode without
NO_BACKSLASH_ESCAPES; PyMySQL's bound parameters rest on the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import JSON, Boolean, Column, Connection, Date, Integer, Numeric, String, Table
from sqlalchemy.dialects.mysql import BINARY, DATETIME
from sqlalchemy.exc import DBAPIError

MAX_STATEMENT_CHARS: Final = 2_000_000
"""A statement is cut here: its bytes, four a character at most, stay below the 16 MB that every server takes."""

Literal = Callable[[Any], str]


def _text(value: str) -> str:
    doubled = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def _json(value: object) -> str:
    return _text(to_json(value).decode())


@lru_cache(16)
def _moment(value: Any) -> str:
    return f"'{value}'"  # ISO 8601, as str() writes dates and moments without a zone


def _binary(value: bytes) -> str:
    return f"x'{value.hex()}'"


def _flag(value: bool) -> str:
    return "1" if value else "0"


_BY_TYPE: Final[tuple[tuple[type[Any], Literal], ...]] = (
    (JSON, _json),
    (Boolean, _flag),
    (DATETIME, _moment),
    (Date, _moment),
    (BINARY, _binary),
    (Integer, str),
    (Numeric, str),
    (String, _text),
)


def literal_for(column: Column[Any]) -> Literal:
    """The function that writes values of `column`; None is not given to it.

    Raises:
        TypeError: no function is known for the column's type.
    """
    for kind, literal in _BY_TYPE:
        if isinstance(column.type, kind):
            return literal
    raise TypeError(f"no literal for {column}: {column.type}")


class RowWriter:
    """Writes rows of some columns of `table` as ``(1,'text',NULL)``."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        quoted = ",".join(f"`{name}`" for name in names)
        self.insert: Final = f"INSERT INTO `{table.name}` ({quoted}) VALUES "
        self._literals = [(name, literal_for(table.c[name])) for name in names]

    def row(self, values: Mapping[str, Any]) -> str:
        """One row; `values` by column."""
        return f"({','.join(['NULL' if (v := values[name]) is None else write(v) for name, write in self._literals])})"


def execute_rows(connection: Connection, before: str, rows: Iterable[str], after: str = "") -> None:
    """Run ``before row,row,... after`` once for all `rows`, or in several statements where they are long."""
    for part in _parts(rows):
        run(connection, f"{before}{','.join(part)}{after}")


def run(connection: Connection, sql: str) -> Any:
    """Run a statement that holds its values; percent signs in it mean themselves.

    Raises:
        DBAPIError: as always, but without the statement, whose values belong into no log.
    """
    try:
        return connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    except DBAPIError as error:
        error.statement = f"{sql[:40]}... (values hidden)"
        raise


def _parts(rows: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for row in rows:
        if part and length + len(row) > MAX_STATEMENT_CHARS:
            yield part
            part, length = [], 0
        part.append(row)
        length += len(row)
    if part:
        yield part
