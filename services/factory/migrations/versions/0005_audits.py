"""Where what the trainings again gave lies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fine_tune", sa.Column("audit_output", sa.Text, nullable=False, server_default=""))
