"""What records' texts are like, and by what that is found.  Of records that are there the service adds it (`liken`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "likeness",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), nullable=False, unique=True),
        sa.Column("box", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "likeness_posting",
        sa.Column("feature", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
