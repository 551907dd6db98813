"""Which split of a revision holds from when on, by the chain, which is read again from its beginning for that.

What was journaled of it is known by its blocks, and not journaled twice.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "split_change",
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("log_index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("developer_bps", sa.Integer, nullable=False),
        sa.Column("stakers_bps", sa.Integer, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("split_change_by_digest", "split_change", ["digest", "block", "log_index"])
    op.add_column("followed", sa.Column("read_time", sa.BigInteger))
    op.execute("DELETE FROM followed")
