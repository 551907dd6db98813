"""Leases and the log of traces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.kit.database import Amount

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "log_entry",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_log_entry_key", "log_entry", ["key"])
    op.create_table(
        "log_head",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("asked", Amount, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("amount", Amount),
        sa.Column("expire_time", sa.DateTime(timezone=True)),
        sa.Column("used", Amount),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_lease_state", "lease", ["state"])
    op.create_table(
        "space_probe",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
