"""Adapters that are pinned or were brought from elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_adapters"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "adapter",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("importer", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_adapter_importer", "adapter", ["importer"])
