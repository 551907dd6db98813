"""Changes of revisions' splits as the chain told them, while it has not taken them back."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from services.ledger.chain import SplitHolds
from services.ledger.registries import Split
from services.ledger.splits import Change
from services.ledger.store.tables import SPLIT_CHANGE, insert_new


def keep(connection: Connection, told: SplitHolds) -> None:
    """Note a change, unless it is known."""
    insert_new(
        connection,
        SPLIT_CHANGE,
        block=told.block_number,
        log_index=told.log_index,
        digest=told.revision,
        developer_bps=told.split.developer_bps,
        stakers_bps=told.split.stakers_bps,
        time=told.time,
        hash=told.tx_hash,
    )


def forget_after(connection: Connection, block: int) -> None:
    """The changes of later blocks are no longer part of the chain."""
    connection.execute(delete(SPLIT_CHANGE).where(SPLIT_CHANGE.c.block > block))


def of(connection: Connection, digest: str) -> list[Change]:
    """A revision's changes, in the order of the chain."""
    t = SPLIT_CHANGE
    query = select(t).where(t.c.digest == digest).order_by(t.c.block, t.c.log_index)
    return [
        Change(Split(row.developer_bps, row.stakers_bps), row.time, row.block, row.hash)
        for row in connection.execute(query)
    ]
