"""Many rows in few statements, on both databases, in the caller's transaction.  Knows nothing of what the rows mean.

PostgreSQL gets new rows by COPY in its binary form and changes as arrays, one statement for all of them; SQLite, which
has no way to a server to save, gets its driver's `executemany`.  Values are as the tables' columns take them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Select, Table, Text, cast, literal
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator

from services.kit.database import Amount

_PIECES = {"yield_per": 5000}
"""Of a statement, not of the connection: what is written in the same transaction is no cursor."""
Rows = Sequence[Sequence[Any]]


def add(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, each in the order of `columns`.  All or none of them."""
    found = [table.c[name] for name in columns]
    if connection.dialect.name == "postgresql":
        # Row by row, so that none is held: the interpreter looks through all that is held, again and again.
        checked = _whole(found, rows)
        for first in checked:
            with stream(connection, table, columns) as send:
                for row in chain((first,), checked):
                    send(row)
        return
    names, places = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({places})"  # noqa: S608 - names of our own tables
    if held := list(rows):
        connection.exec_driver_sql(statement, _for_sqlite(connection, found, held))


@contextmanager
def stream(connection: Connection, table: Table, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Insert rows one by one, each in the order of `columns`, none of them an amount; all are there at the end.

    On PostgreSQL they travel, and are written, while the caller goes on: until then it can ask nothing else.
    """
    if connection.dialect.name != "postgresql":
        rows: list[Sequence[Any]] = []
        yield rows.append
        add(connection, table, columns, rows)
        return
    import psycopg  # only where PostgreSQL is

    found = [table.c[name] for name in columns]
    names = ", ".join(f'"{name}"' for name in columns)
    statement = f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)"
    driver: Any = connection.connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([_type_name(column, connection.dialect) for column in found])
            yield copy.write_row
    except psycopg.Error as error:  # as SQLAlchemy raises what goes through it
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error


def change(connection: Connection, table: Table, key: str, columns: Sequence[str], rows: Rows) -> None:
    """Set `columns` of the rows with those keys; each of `rows` is a key and its new values."""
    if not rows:
        return
    found = [table.c[name] for name in (key, *columns)]
    if connection.dialect.name == "postgresql":
        rows = list(_whole(found, rows))
        arrays = ", ".join(f"%s::{column.type.compile(connection.dialect)}[]" for column in found)
        names = ", ".join(f'"{column.name}"' for column in found)
        sets = ", ".join(f'"{name}" = new."{name}"' for name in columns)
        statement = f"UPDATE {table.name} SET {sets} FROM unnest({arrays}) AS new ({names}) "  # noqa: S608 - as above
        statement += f'WHERE {table.name}."{key}" = new."{key}"'
        arrays_of = tuple([_plain(value) for value in values] for values in zip(*rows, strict=True))
        connection.exec_driver_sql(statement, arrays_of)
        return
    sets = ", ".join(f'"{name}" = ?' for name in columns)
    statement = f'UPDATE {table.name} SET {sets} WHERE "{key}" = ?'  # noqa: S608 - as above
    turned = [(*row[1:], row[0]) for row in rows]
    connection.exec_driver_sql(statement, _for_sqlite(connection, [*found[1:], found[0]], turned))


def among(column: Column[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a text column has one of those values, however many: they travel as one parameter."""
    return _Among(column, literal(list(values), _Texts()))


def amounts(connection: Connection, query: Select[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """What a query of a text and an amount finds, read in pieces.

    Amounts come as text: the driver's decimals, turned row by row, are most of what reading a million takes.
    """
    name, amount = query.selected_columns
    rows = connection.execute(query.with_only_columns(name, cast(amount, Text)), execution_options=_PIECES)
    return ((name, int(amount)) for name, amount in rows)


class _Texts(TypeDecorator[list[str]]):
    """An array on PostgreSQL, a JSON list on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(ARRAY(Text) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


class _Among(FunctionElement[Any]):
    inherit_cache = True
    # Not Boolean: SQLAlchemy would write "= 1" after it, and SQLite would then look at every row instead of the index.
    type = NullType()


@compiles(_Among, "postgresql")
def _any(element: _Among, compiler: SQLCompiler, **more: Any) -> str:
    column, values = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "sqlite")
def _in(element: _Among, compiler: SQLCompiler, **more: Any) -> str:
    column, values = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - our own text


def _whole(columns: Sequence[Column[Any]], rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """The rows.  Raises `TypeError` for an amount that is no `int`: PostgreSQL would round it without a word."""
    amounts = [place for place, column in enumerate(columns) if isinstance(column.type, Amount)]
    for row in rows:
        for place in amounts:
            if type(row[place]) is not int:
                raise TypeError(f"{columns[place].table.name}.{columns[place].name}: an amount is an int")
        yield row


def _type_name(column: Column[Any], dialect: Dialect) -> str:
    return column.type.compile(dialect).partition("(")[0].lower()


def _plain(value: Any) -> Any:
    # An array has one type, and integers of different sizes would be of several.
    return str(value) if type(value) is int else value


def _for_sqlite(connection: Connection, columns: Sequence[Column[Any]], rows: Rows) -> list[tuple[Any, ...]]:
    """The rows as SQLAlchemy would bind them."""
    dialect = connection.dialect
    binds: list[Callable[[Any], Any] | None] = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in columns]
    turned = [
        [bind(value) for value in values] if bind else values
        for bind, values in zip_longest(binds, zip(*rows, strict=True))
    ]
    return list(zip(*turned, strict=True))
