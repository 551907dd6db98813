"""Revisions that are the weighted sum of others, and so of no fine-tune."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _anew()
    else:
        for column in ("fine_tune", "metrics"):
            op.alter_column("revision", column, existing_type=sa.Text, nullable=True)
    op.create_table(
        "combined_revision",
        sa.Column("revision", sa.Text, sa.ForeignKey("revision.name"), primary_key=True),
        sa.Column("parent", sa.Text, sa.ForeignKey("revision.name"), primary_key=True),
    )
    op.create_index("combined_revision_of_parent", "combined_revision", ["parent"])


def _anew() -> None:
    """SQLite changes a column by making its table again, which rows that refer to it would not let happen."""
    op.execute("CREATE TEMPORARY TABLE kept_flag AS SELECT * FROM revision_flag")
    op.execute("DELETE FROM revision_flag")
    with op.batch_alter_table("revision") as table:
        for column in ("fine_tune", "metrics"):
            table.alter_column(column, existing_type=sa.Text, nullable=True)
    op.execute("INSERT INTO revision_flag SELECT * FROM kept_flag")
    op.execute("DROP TABLE kept_flag")
