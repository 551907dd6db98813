"""Traces sealed for their payers, the payers' keys, and who wants nothing kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "payer_key",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("wrapped", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("retired", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("ix_payer_key_payer", "payer_key", ["payer"])
    op.create_table(
        "sealed_trace",
        sa.Column("response", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("end_time", sa.Text, nullable=False),
        sa.Column("data_key", sa.Text, nullable=False),
        sa.Column("box", sa.Text, nullable=False),
    )
    op.create_index("ix_sealed_trace_payer", "sealed_trace", ["payer"])
    op.create_index("ix_sealed_trace_end_time", "sealed_trace", ["end_time"])
    op.create_table(
        "forgotten",
        sa.Column("payer", sa.Text, primary_key=True),
        sa.Column("before", sa.Text, nullable=False),
    )
