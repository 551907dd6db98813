"""Leaves are kept in pages of 256, and books have room to change in place.

A row a leaf, with its index and its foreign key, was most of what sealing a million accounts wrote.  Pages that are
there when a book's sums change need no new entry in the index: on PostgreSQL a table that is full writes one for every
change, and a settlement of a million accounts took seven times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_PAGE = 256
_POSTGRESQL = (
    "ALTER TABLE leaf_page ALTER COLUMN entries SET STORAGE EXTERNAL",  # addresses do not compress
    "ALTER TABLE balance SET (fillfactor = 45)",
    "CLUSTER balance USING balance_pkey",  # what is there gets its room
)


def upgrade() -> None:
    table = op.create_table(
        "leaf_page",
        sa.Column("epoch", sa.BigInteger, sa.ForeignKey("epoch.number"), primary_key=True, autoincrement=False),
        sa.Column("waiting", sa.Boolean, primary_key=True),
        sa.Column("first", sa.LargeBinary, primary_key=True),
        sa.Column("entries", sa.LargeBinary, nullable=False),
        sa.Column("node", sa.LargeBinary),
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for statement in _POSTGRESQL:
            op.execute(statement)
    for (epoch,) in connection.execute(sa.text("SELECT number FROM epoch ORDER BY number")).all():
        for column in ("cumulative", "waiting"):
            for page in _pages(_entries(connection, epoch, column)):
                row = {"epoch": epoch, "waiting": column == "waiting", "first": page[0][:20]}
                connection.execute(table.insert().values(**row, entries=b"".join(page)))
    op.drop_table("leaf")


def _entries(connection: Any, epoch: int, column: str) -> Iterator[bytes]:
    """20 bytes of an account and 32 of an amount each, in the order of accounts."""
    query = f"SELECT account, {column} FROM leaf WHERE epoch = :epoch"  # noqa: S608 - our own text
    rows = (
        (bytes.fromhex(who[2:]), int(amount)) for who, amount in connection.execute(sa.text(query), {"epoch": epoch})
    )
    return (who + amount.to_bytes(32) for who, amount in sorted(rows) if amount)


def _pages(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = iter(entries)
    while page := list(islice(left, _PAGE)):
        yield page
