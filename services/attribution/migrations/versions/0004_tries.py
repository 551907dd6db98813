"""Measurements that were begun and have not ended."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "measurement_try",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("begun", sa.Integer, nullable=False),
    )
