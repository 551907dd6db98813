"""How a break in reading receipts holds what leases reserve: for all leases alike, those given after it, too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for name in ("stands", "goes"):
        op.add_column("receipts_read", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
