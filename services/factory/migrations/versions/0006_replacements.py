"""Runs that take another one again without somebody, and which of their snapshots' records they do without."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fine_tune", sa.Column("replaces", sa.Text))
    op.add_column("revision", sa.Column("replaced_by", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "left_out_record",
        sa.Column("fine_tune", sa.Text, sa.ForeignKey("fine_tune.id"), primary_key=True),
        sa.Column("record", sa.Text, primary_key=True),
    )
