"""How often the chain took blocks back: whoever has judged by what was read finds out whether that went since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("followed", sa.Column("take_backs", sa.BigInteger, nullable=False, server_default="0"))
