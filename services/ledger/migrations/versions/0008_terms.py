"""The terms that the ledger has published: receipts by earlier ones, which were on their way, are booked too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "published_terms",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("rule_sha256", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("receipts_read", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
