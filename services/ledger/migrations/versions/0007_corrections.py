"""What was taken back and by whom; why an epoch does not go on; and what of earnings waits for the next root."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.kit.database import Amount

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "correction",
        sa.Column("journal", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("corrects", sa.BigInteger, nullable=False, unique=True),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.add_column("epoch", sa.Column("held_up", sa.Text, nullable=False, server_default=""))
    op.add_column("epoch", sa.Column("waiting", Amount, nullable=False, server_default="0"))
    op.add_column("leaf", sa.Column("waiting", Amount, nullable=False, server_default="0"))
