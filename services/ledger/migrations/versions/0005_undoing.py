"""What the chain may take back: every attempt at a transaction, every event in its block; and turns of sending.

What was followed is followed anew from its first block, once: what stands in the books is recognised there, and gets
its block noted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.kit.database import Amount

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("sender", sa.Column("holder", sa.Text, nullable=False, server_default=""))
    op.add_column("sender", sa.Column("until", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "chain_attempt",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_chain_attempt_key", "chain_attempt", ["key"])
    op.create_index("chain_attempt_by_nonce", "chain_attempt", ["sender", "nonce"])
    op.execute(
        "INSERT INTO chain_attempt (hash, key, sender, nonce, number, raw, create_time) "
        "SELECT hash, key, sender, nonce, 1, raw, create_time FROM chain_transaction WHERE raw IS NOT NULL"
    )
    op.create_table(
        "chain_event",
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("log_index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("block_hash", sa.Text, nullable=False),
        sa.Column("journal", sa.Text),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("withdrawing", Amount),
        sa.Column("redeemed", Amount),
    )
    op.create_index("chain_event_by_account", "chain_event", ["account", "block", "log_index"])
    op.execute("DELETE FROM followed")
