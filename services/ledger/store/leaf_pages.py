"""Accounts' amounts of an epoch, in pages: the leaves of its root, and beside them what waits for the next epoch.

A page has `settle.PAGE` accounts in the order of their addresses, 20 bytes of each and 32 of its amount, as they end
the leaf's preimage.  A page of leaves is a subtree of the epoch's tree and is kept with its node, so that a proof needs
one page and the others' nodes.  Who is in no page has nothing: amounts of 0 are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from struct import Struct

from sqlalchemy import ColumnElement, Connection, LargeBinary, and_, delete, func, literal, select

from services.ledger.settle import PAGE
from services.ledger.store import bulk
from services.ledger.store.tables import LEAF_PAGE

_ENTRY = Struct("20s32s")
_COLUMNS = ("epoch", "waiting", "first", "entries", "node")
_PIECES = {"yield_per": 64}


def add(
    connection: Connection, epoch: int, leaves: Mapping[str, int], waiting: Mapping[str, int], nodes: Sequence[bytes]
) -> None:
    """Keep an epoch's amounts by address.  `nodes`: of the leaves' pages, or none where they are not known."""
    known = zip(_pages(leaves), nodes or repeat(None), strict=bool(nodes))
    rows = ((epoch, False, *page, node) for page, node in known)
    bulk.add(connection, LEAF_PAGE, _COLUMNS, rows)
    bulk.add(connection, LEAF_PAGE, _COLUMNS, ((epoch, True, *page, None) for page in _pages(waiting)))


def drop(connection: Connection, epoch: int) -> None:
    """Forget an epoch's amounts."""
    connection.execute(delete(LEAF_PAGE).where(LEAF_PAGE.c.epoch == epoch))


def leaves(connection: Connection, epoch: int) -> dict[str, int]:
    """Address to cumulative amount, where there is any, in the order of addresses."""
    return _all(connection, epoch, waiting=False)


def waiting(connection: Connection, epoch: int) -> dict[str, int]:
    """Address to what it has earned beyond its leaf, where there is any, in the order of addresses."""
    return _all(connection, epoch, waiting=True)


def following(connection: Connection, epoch: int, after: str, *, waiting: bool = False) -> Iterator[tuple[str, int]]:
    """Addresses beyond that one, or all beyond "", with their leaves' amounts or what waits; in order, in pieces."""
    start = select(LEAF_PAGE.c.first).where(_of(epoch, waiting=waiting), LEAF_PAGE.c.first <= _bytes(after))
    start = start.order_by(LEAF_PAGE.c.first.desc()).limit(1)
    first = func.coalesce(start.scalar_subquery(), literal(b"", LargeBinary))
    for entries in _entries(connection, and_(_of(epoch, waiting=waiting), LEAF_PAGE.c.first >= first)):
        yield from (entry for entry in _unpacked(entries).items() if entry[0] > after)


def around(connection: Connection, epoch: int, account: str, *, waiting: bool = False) -> dict[str, int]:
    """The page, of leaves or of what waits, in which an account's amount is, if it has one."""
    query = select(LEAF_PAGE.c.entries).where(_of(epoch, waiting=waiting), LEAF_PAGE.c.first <= _bytes(account))
    entries = connection.execute(query.order_by(LEAF_PAGE.c.first.desc()).limit(1)).scalar_one_or_none()
    return _unpacked(entries or b"")


def nodes(connection: Connection, epoch: int) -> dict[str, bytes | None]:
    """The node of each page of leaves, where it is known, by the page's first account; in order."""
    query = select(LEAF_PAGE.c.first, LEAF_PAGE.c.node).where(_of(epoch)).order_by(LEAF_PAGE.c.first)
    return {"0x" + first.hex(): node for first, node in connection.execute(query)}


def _of(epoch: int, *, waiting: bool = False) -> ColumnElement[bool]:
    return and_(LEAF_PAGE.c.epoch == epoch, LEAF_PAGE.c.waiting.is_(waiting))


def _pages(amounts: Mapping[str, int]) -> Iterator[tuple[bytes, bytes]]:
    """Each page's first account, and its entries."""
    held = sorted(account for account, amount in amounts.items() if amount)
    for at in range(0, len(held), PAGE):
        page = [_bytes(account) + amounts[account].to_bytes(32) for account in held[at : at + PAGE]]
        yield page[0][:20], b"".join(page)


def _all(connection: Connection, epoch: int, *, waiting: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    for entries in _entries(connection, _of(epoch, waiting=waiting)):
        found.update(_unpacked(entries))
    return found


def _entries(connection: Connection, where: ColumnElement[bool]) -> Iterator[bytes]:
    query = select(LEAF_PAGE.c.entries).where(where).order_by(LEAF_PAGE.c.first)
    return iter(connection.execute(query.execution_options(**_PIECES)).scalars())


def _unpacked(entries: bytes) -> dict[str, int]:
    return {"0x" + who.hex(): int.from_bytes(amount) for who, amount in _ENTRY.iter_unpack(entries)}


def _bytes(account: str) -> bytes:
    return bytes.fromhex(account[2:])
