"""Adapter revisions that are, or are to be, in the ModelRegistry on chain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from services.ledger.registries import Split
from services.ledger.store.tables import REGISTRATION, insert_new


@dataclass(frozen=True)
class Registration:
    """A revision on its way to the chain, or there.  Digests and roots are lower-case hex."""

    digest: str
    """Of its manifest: the key."""
    revision: str
    """Its resource name."""
    index_root: str
    base: str
    snapshots: tuple[tuple[str, str], ...]
    """Resource names and roots, in the manifest's order."""
    developer: str
    split: Split
    """That it is registered with."""
    operation: str = ""
    done: bool = False

    @property
    def lineage(self) -> tuple[object, ...]:
        """What can never be another for the same revision."""
        return self.revision, self.index_root, self.base, self.snapshots, self.developer


def add(connection: Connection, registration: Registration) -> bool:
    """Keep it; says whether it is the first for that revision."""
    values: dict[str, Any] = {name: value for name, value in vars(registration).items() if name != "split"}
    values["snapshots"] = json.dumps(registration.snapshots)
    split = registration.split
    return insert_new(
        connection,
        REGISTRATION,
        **values | {"developer_bps": split.developer_bps, "stakers_bps": split.stakers_bps},
    )


def get(connection: Connection, digest: str) -> Registration | None:
    """A revision's registration, done or not."""
    row = connection.execute(select(REGISTRATION).where(REGISTRATION.c.digest == digest)).first()
    return None if row is None else _registration(row)


def waiting(connection: Connection) -> list[Registration]:
    """Registrations that are not done."""
    return [
        _registration(row) for row in connection.execute(select(REGISTRATION).where(REGISTRATION.c.done.is_(False)))
    ]


def end(connection: Connection, digest: str) -> None:
    """It is on chain."""
    connection.execute(update(REGISTRATION).where(REGISTRATION.c.digest == digest).values(done=True))


def drop(connection: Connection, digest: str) -> None:
    """It did not get on chain."""
    connection.execute(delete(REGISTRATION).where(REGISTRATION.c.digest == digest))


def _registration(row: Row[Any]) -> Registration:
    values = dict(row._mapping)
    split = Split(values.pop("developer_bps"), values.pop("stakers_bps"))
    values["snapshots"] = tuple((name, root) for name, root in json.loads(values["snapshots"]))
    return Registration(**values, split=split)
