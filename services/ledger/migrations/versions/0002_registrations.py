"""Adapter revisions on their way to the chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "registration",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("index_root", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("snapshots", sa.Text, nullable=False),
        sa.Column("developer", sa.Text, nullable=False),
        sa.Column("developer_bps", sa.Integer, nullable=False),
        sa.Column("stakers_bps", sa.Integer, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("ix_registration_done", "registration", ["done"])
