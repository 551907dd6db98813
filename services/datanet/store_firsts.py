"""Whose record says a thing first, in the database: by a token of the fingerprint that texts have as they are compared.

With that form the fingerprints of a few records change: those that have characters which it looks at otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from services.datanet import store
from services.datanet.tables import FIRST


def claim_again(connection: Connection, tokens: Mapping[str, bytes]) -> None:
    """Records, by name, as they are known by the form of now; what others said first by it stays theirs.

    tokens: of their fingerprints, at most as many as fit into a statement.
    """
    rows = connection.execute(select(FIRST).where(FIRST.c.fingerprint.in_(tokens.values())))
    owners = {row.fingerprint: row.record for row in rows}
    changed = {name: token for name, token in tokens.items() if owners.get(token) != name}
    if not changed:
        return
    connection.execute(delete(FIRST).where(FIRST.c.record.in_(changed)))  # looks through the whole table
    firsts: dict[bytes, str] = {}
    for name, token in changed.items():
        firsts.setdefault(token, name)
    connection.execute(
        store.insert_new(connection, FIRST).values([{"fingerprint": f, "record": name} for f, name in firsts.items()])
    )


def forget(connection: Connection, name: str, token: bytes | None) -> None:
    """Nothing is known by which a record's text is found again.  token: of its fingerprint, where it still opens."""
    its_own = FIRST.c.record == name
    if token is not None and connection.execute(delete(FIRST).where(FIRST.c.fingerprint == token, its_own)).rowcount:
        return
    # Nobody can open it, it is known by an earlier form, or another said it first: the whole table is looked through.
    connection.execute(delete(FIRST).where(its_own))
