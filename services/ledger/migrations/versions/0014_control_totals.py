"""What the postings sum to up to some journal, so that only what came since is added."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "control_total",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("journals", sa.BigInteger, nullable=False),
        sa.Column("totals", sa.Text, nullable=False),
        sa.Column("whole_time", sa.BigInteger, nullable=False),
    )
