"""Datanets in the database.  Every function takes the connection of its caller's transaction.

The tables are in `tables.py`; records and snapshots have stores of their own beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Select, Table, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from services.datanet.model import Datanet, Definition, Duplicates, Field, PersonalData, Policy, datanet_name
from services.datanet.tables import DATANET, METADATA
from services.kit.errors import not_found

__all__ = ["METADATA", "add", "get", "insert_new", "locked", "page", "redefine"]


def add(connection: Connection, datanet: Datanet) -> bool:
    """Open a datanet; false when its id is taken."""
    row = asdict(datanet) | {"definition": _dump(datanet.definition)}
    statement = insert_new(connection, DATANET).values(row).returning(DATANET.c.id)
    return connection.execute(statement).first() is not None


def get(connection: Connection, datanet: str) -> Datanet:
    """Raises `Fault` when there is none of that id."""
    return _one(connection, datanet, select(DATANET).where(DATANET.c.id == datanet))


def locked(connection: Connection, datanet: str) -> Datanet:
    """The datanet, held until the transaction ends: what is numbered or frozen in it happens one after the other."""
    return _one(connection, datanet, select(DATANET).where(DATANET.c.id == datanet).with_for_update())


def page(connection: Connection, after: Sequence[int | str] | None, limit: int) -> list[Datanet]:
    """Datanets, newest first, after the one with that (create_time, id)."""
    query = select(DATANET).order_by(DATANET.c.create_time.desc(), DATANET.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(tuple_(DATANET.c.create_time, DATANET.c.id) < tuple_(*after))
    return [_datanet(row) for row in connection.execute(query)]


def redefine(connection: Connection, datanet: str, definition: Definition, now: int) -> None:
    """Replace its definition."""
    connection.execute(
        update(DATANET)
        .where(DATANET.c.id == datanet)
        .values(definition=_dump(definition), revision=DATANET.c.revision + 1, update_time=now)
    )


def insert_new(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves out rows that are there already, waiting for those that others are just inserting."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def _one(connection: Connection, datanet: str, query: Select[Any]) -> Datanet:
    row = connection.execute(query).first()
    if row is None:
        raise not_found("DATANET_NOT_FOUND", f"there is no {datanet_name(datanet)}")
    return _datanet(row)


def _datanet(row: Any) -> Datanet:
    return Datanet(**(row._asdict() | {"definition": _load(row.definition)}))


def _dump(definition: Definition) -> str:
    return json.dumps(asdict(definition), ensure_ascii=False)


def _load(text: str) -> Definition:
    parts = json.loads(text)
    fields = tuple(Field(**field) for field in parts.pop("fields"))
    return Definition(**parts | {"fields": fields, "policy": _policy(parts["policy"]), "tags": tuple(parts["tags"])})


def _policy(parts: dict[str, Any]) -> Policy:
    """What an earlier version did not know of has its default."""
    policy = Policy(**parts)
    return replace(
        policy,
        languages=tuple(policy.languages),
        personal_data=PersonalData(policy.personal_data),
        duplicates=Duplicates(policy.duplicates),
    )
