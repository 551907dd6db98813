"""What records' texts are like, in the order in which the records came in, and by what each is found.

All of it is made anew (`liken`): what makes texts alike has changed as well.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("likeness_posting")
    op.drop_table("likeness")
    op.create_table(
        "likeness",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), nullable=False, unique=True),
        sa.Column("came", sa.BigInteger, nullable=False),
        sa.Column("features", sa.LargeBinary, nullable=False),
        sa.Column("box", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "likeness_posting",
        sa.Column("feature", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("came", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
