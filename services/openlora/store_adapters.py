"""What is kept of adapter revisions: which are pinned, and who brought how much from elsewhere.

Functions take the caller's connection.  What a revision is, its manifest says, which is not here.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Connection, DateTime, Table, Text, func, insert, select, update

from services.openlora.store import METADATA

ADAPTER = Table(
    "adapter",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("pinned", Boolean, nullable=False),
    # The lower-case address of who brought it; "" of what a factory made.
    Column("importer", Text, nullable=False, index=True),
    Column("bytes", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


def pinned(c: Connection) -> set[str]:
    """Names of the revisions that stay in memory."""
    return set(c.execute(select(ADAPTER.c.name).where(ADAPTER.c.pinned)).scalars())


def pin(c: Connection, name: str, *, on: bool) -> None:
    """A revision stays in memory from now on, or not."""
    changed = c.execute(update(ADAPTER).where(ADAPTER.c.name == name).values(pinned=on)).rowcount
    if on and not changed:
        c.execute(insert(ADAPTER).values(name=name, pinned=True, importer="", bytes=0))


def brought(c: Connection, importer: str = "") -> int:
    """Bytes of what an account brought; without one, of what all did."""
    query = select(func.coalesce(func.sum(ADAPTER.c.bytes), 0))
    return int(c.execute(query.where(ADAPTER.c.importer == importer) if importer else query).scalar_one())


def is_brought(c: Connection, name: str) -> bool:
    """Whether a revision is counted already as brought."""
    return c.execute(select(ADAPTER.c.name).where(ADAPTER.c.name == name, ADAPTER.c.importer != "")).first() is not None


def bring(c: Connection, name: str, importer: str, size: int) -> None:
    """A revision is brought by an account: what `brought` says grows by its bytes."""
    values = {"importer": importer, "bytes": size}
    if not c.execute(update(ADAPTER).where(ADAPTER.c.name == name).values(**values)).rowcount:
        c.execute(insert(ADAPTER).values(name=name, pinned=False, **values))
