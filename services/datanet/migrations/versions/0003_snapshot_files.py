"""Snapshots' files and their datanets' logs; records that are withdrawn or erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (("definition", sa.Text), ("manifest", sa.Text), ("entry", sa.LargeBinary)):
        op.add_column("snapshot", sa.Column(name, kind))
    op.add_column("snapshot", sa.Column("log_root", sa.LargeBinary))
    op.create_index("leaf_by_record", "snapshot_leaf", ["record"])
    op.add_column("record", sa.Column("state", sa.Text, nullable=False, server_default="accepted"))
    op.add_column("record", sa.Column("state_time", sa.BigInteger))
    op.add_column("record", sa.Column("state_message", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "erasure",
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), primary_key=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("share", sa.LargeBinary),
        sa.Column("revisions", sa.Text),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
