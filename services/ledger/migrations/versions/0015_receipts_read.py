"""Up to when receipts were read: what leases reserve ends by it, and no longer by the clock alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "receipts_read",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
