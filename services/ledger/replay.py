"""What the chain tells, takes back and tells again: each stands in the books once.

A journal is never changed: what was taken back is voided by another one, and what comes again after that is journaled
anew, under its key with a number.  Runs inside the caller's transaction.  What this does not know: which blocks are
part of the chain.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from services.ledger import journal
from services.ledger.journal import Journal, Kind
from services.ledger.store import books


class Contradiction(RuntimeError):
    """The chain tells of one event in two ways."""


def tell(connection: Connection, entry: Journal) -> bool:
    """Journal an event of the chain unless it stands already; says whether it did not.  Call `books.lock` first.

    Raises `Contradiction` when it stands with another content.
    """
    key, known = _newest(connection, entry.key)
    if known is None:
        books.post(connection, replace(entry, key=key))
    elif known != entry.payload_sha256:
        raise Contradiction(f"{entry.key} is journaled with another content than the chain tells now")
    return known is None


def stands(connection: Connection, key: str) -> bool:
    """Whether the event of that key stands in the books."""
    return _newest(connection, key)[1] is not None


def take_back(connection: Connection, key: str) -> bool:
    """Void the event of that key if it stands; says whether it did.  Call `books.lock` first."""
    found = books.entry(connection, _newest(connection, key)[0])
    if found is not None:
        books.post(connection, journal.void(found))
    return found is not None


def _newest(connection: Connection, key: str) -> tuple[str, str | None]:
    """The key under which the event stands, and its payload; or under which it would be journaled now, and None."""
    numbered, number = key, 0
    while books.payload_of(connection, f"{Kind.VOID}:{numbered}") is not None:
        number += 1
        numbered = f"{key}#{number}"
    return numbered, books.payload_of(connection, numbered)
