"""Where an erased record's share was is kept when it is overwritten: of those of before, nobody knows it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasure", sa.Column("destroyed", sa.Boolean, nullable=False, server_default=sa.false()))
    erasure = sa.table("erasure", sa.column("share", sa.LargeBinary), sa.column("destroyed", sa.Boolean))
    op.execute(sa.update(erasure).where(erasure.c.share.is_(None)).values(destroyed=True))
