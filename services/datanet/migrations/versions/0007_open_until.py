"""Up to which record a datanet was open that is private now; of those that are so already, nobody wrote it down."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datanet", sa.Column("open_until", sa.BigInteger, nullable=False, server_default="0"))
