"""Snapshots' files and their datanets' logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (("definition", sa.Text), ("manifest", sa.Text), ("entry", sa.LargeBinary)):
        op.add_column("snapshot", sa.Column(name, kind))
    op.add_column("snapshot", sa.Column("log_root", sa.LargeBinary))
    op.add_column("snapshot_leaf", sa.Column("first_leaf", sa.BigInteger))
    op.create_index("leaf_by_record", "snapshot_leaf", ["record"])
