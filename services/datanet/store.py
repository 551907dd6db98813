"""Datanets in the database.  Every function takes the connection of its caller's transaction.

The tables are in `tables.py`; members, records and snapshots have stores of their own beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, Table, case, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from services.datanet import search
from services.datanet.members import State
from services.datanet.model import (
    Datanet,
    Definition,
    Duplicates,
    Field,
    Kind,
    PersonalData,
    Policy,
    Visibility,
    datanet_name,
)
from services.datanet.tables import DATANET, MEMBER, METADATA, RECORD, TAG
from services.kit.auth import Principal
from services.kit.errors import exhausted, not_found

__all__ = [
    "METADATA",
    "Wanted",
    "add",
    "check_room",
    "dump",
    "get",
    "insert_new",
    "load",
    "locked",
    "page",
    "redefine",
    "upserting",
]

_MODEL = [DATANET.c[name] for name in Datanet.__dataclass_fields__]


@dataclass(frozen=True)
class Wanted:
    """Which datanets are asked for: with all the words and all the tags; `mine` are those that one has to do with."""

    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    kind: Kind | None = None
    mine: bool = False


def add(connection: Connection, datanet: Datanet) -> bool:
    """Open a datanet; false when its id is taken."""
    row = asdict(datanet) | _columns(datanet.id, datanet.definition)
    statement = insert_new(connection, DATANET).values(row).returning(DATANET.c.id)
    if connection.execute(statement).first() is None:
        return False
    _tag(connection, datanet.id, datanet.definition)
    return True


def check_room(connection: Connection, owner: str, most: int) -> None:
    """Raises `Fault` when that account has as many datanets as it may."""
    count = connection.execute(select(func.count()).where(DATANET.c.owner == owner)).scalar_one()
    if count >= most:
        raise exhausted(
            "DATANETS_FULL", f"accounts/{owner} has {count} datanets, and may have {most}", retry_after=86_400
        )


def get(connection: Connection, datanet: str) -> Datanet:
    """Raises `Fault` when there is none of that id."""
    return _one(connection, datanet, select(*_MODEL).where(DATANET.c.id == datanet))


def locked(connection: Connection, datanet: str) -> Datanet:
    """The datanet, held until the transaction ends: what is numbered or frozen in it happens one after the other."""
    return _one(connection, datanet, select(*_MODEL).where(DATANET.c.id == datanet).with_for_update())


def page(
    connection: Connection, after: Sequence[int | str] | None, limit: int, viewer: Principal, wanted: Wanted
) -> list[Datanet]:
    """Datanets that the viewer sees, newest first, after the one with that (create_time, id)."""
    query = select(*_MODEL).order_by(DATANET.c.create_time.desc(), DATANET.c.id.desc()).limit(limit)
    mine = select(MEMBER.c.datanet).where(MEMBER.c.account == viewer.address)
    if not viewer.service:
        known = DATANET.c.id.in_(mine.where(MEMBER.c.state != State.REQUESTED))
        query = query.where(or_(DATANET.c.visibility != Visibility.PRIVATE, DATANET.c.owner == viewer.address, known))
    if wanted.mine:
        query = query.where(or_(DATANET.c.owner == viewer.address, DATANET.c.id.in_(mine)))
    if wanted.kind is not None:
        query = query.where(DATANET.c.kind == wanted.kind)
    for word in wanted.words:
        query = query.where(DATANET.c.words.contains(word, autoescape=True))
    for tag in wanted.tags:
        query = query.where(DATANET.c.id.in_(select(TAG.c.datanet).where(TAG.c.tag == tag)))
    if after is not None:
        query = query.where(tuple_(DATANET.c.create_time, DATANET.c.id) < tuple_(*after))
    return [_datanet(row) for row in connection.execute(query)]


def redefine(connection: Connection, datanet: str, definition: Definition, now: int) -> None:
    """Replace its definition.  It must be locked."""
    columns = _columns(datanet, definition) | {"revision": DATANET.c.revision + 1, "update_time": now}
    if definition.visibility is Visibility.PRIVATE:
        last = select(func.coalesce(func.max(RECORD.c.number), 0)).where(RECORD.c.datanet == datanet)
        was_private = DATANET.c.visibility == Visibility.PRIVATE
        columns["open_until"] = case((was_private, DATANET.c.open_until), else_=last.scalar_subquery())
    connection.execute(update(DATANET).where(DATANET.c.id == datanet).values(columns))
    connection.execute(delete(TAG).where(TAG.c.datanet == datanet))
    _tag(connection, datanet, definition)


def insert_new(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves out rows that are there already, waiting for those that others are just inserting."""
    return upserting(connection, table).on_conflict_do_nothing()


def upserting(connection: Connection, table: Table) -> Any:
    """An INSERT that can say what happens where a row is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _one(connection: Connection, datanet: str, query: Select[Any]) -> Datanet:
    row = connection.execute(query).first()
    if row is None:
        raise not_found("DATANET_NOT_FOUND", f"there is no {datanet_name(datanet)}")
    return _datanet(row)


def _columns(datanet: str, definition: Definition) -> dict[str, Any]:
    return {
        "definition": dump(definition),
        "kind": definition.kind,
        "visibility": definition.visibility,
        "words": search.about(datanet, definition),
    }


def _tag(connection: Connection, datanet: str, definition: Definition) -> None:
    if definition.tags:
        connection.execute(insert(TAG), [{"tag": tag, "datanet": datanet} for tag in definition.tags])


def _datanet(row: Any) -> Datanet:
    return Datanet(**(row._asdict() | {"definition": load(row.definition)}))


def dump(definition: Definition) -> str:
    """A definition as it is kept."""
    return json.dumps(asdict(definition), ensure_ascii=False)


def load(text: str) -> Definition:
    """What an earlier version did not know of has its default."""
    read = Definition(**json.loads(text))
    return replace(
        read,
        tags=tuple(read.tags),
        fields=tuple(Field(**field) for field in read.fields),  # type: ignore[arg-type]
        policy=_policy(Policy(**read.policy)),  # type: ignore[arg-type]
        kind=Kind(read.kind),
        visibility=Visibility(read.visibility),
    )


def _policy(policy: Policy) -> Policy:
    return replace(
        policy,
        languages=tuple(policy.languages),
        personal_data=PersonalData(policy.personal_data),
        duplicates=Duplicates(policy.duplicates),
    )
