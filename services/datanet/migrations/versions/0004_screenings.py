"""What checks found in records.  Of records that were taken in before, nothing: nobody looked at them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "screening",
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), primary_key=True),
        sa.Column("findings", sa.Text, nullable=False),
        sa.Column("confirmation", sa.Text, nullable=False),
    )
