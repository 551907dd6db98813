"""Whose record says a thing first, in the database: by a token of the fingerprint that texts have as they are compared.

With that form the fingerprints of a few records change: those that have characters which it looks at otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, or_, select

from services.datanet import store, store_likeness
from services.datanet.tables import FIRST

_NEVER = (2**63, 0)


def claim_again(connection: Connection, tokens: Mapping[str, bytes]) -> None:
    """Records, by name, as they are known by the form of now: of those that are the same by it, the first that came.

    tokens: of their fingerprints, at most half as many as fit into a statement.  Likeness must be held.
    """
    rows = connection.execute(select(FIRST).where(FIRST.c.fingerprint.in_(tokens.values())))
    owners = {row.fingerprint: row.record for row in rows}
    changed = {name: token for name, token in tokens.items() if owners.get(token) != name}
    if not changed:
        return
    firsts = {token: owners[token] for token in changed.values() if token in owners}
    came = store_likeness.came(connection, [_id(name) for name in (*changed, *firsts.values())])
    for name, token in changed.items():
        firsts[token] = min(firsts.get(token, name), name, key=lambda n: came.get(_id(n), _NEVER))
    anew = {token: name for token, name in firsts.items() if owners.get(token) != name}
    # The first condition looks through the whole table.
    connection.execute(delete(FIRST).where(or_(FIRST.c.record.in_(changed), FIRST.c.fingerprint.in_(anew))))
    if anew:
        rows_of_them = [{"fingerprint": token, "record": name} for token, name in anew.items()]
        connection.execute(store.insert_new(connection, FIRST).values(rows_of_them))


def forget(connection: Connection, name: str, token: bytes | None) -> None:
    """Nothing is known by which a record's text is found again.  token: of its fingerprint, where it still opens."""
    its_own = FIRST.c.record == name
    if token is not None and connection.execute(delete(FIRST).where(FIRST.c.fingerprint == token, its_own)).rowcount:
        return
    # Nobody can open it, it is known by an earlier form, or another said it first: the whole table is looked through.
    connection.execute(delete(FIRST).where(its_own))


def _id(name: str) -> str:
    return name.rpartition("/")[2]
