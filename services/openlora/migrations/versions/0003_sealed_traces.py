"""Payers' keys, accounts of answers whose traces went, the reader's place, answers generated again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.kit.database import Amount

revision = "0003_sealed_traces"
down_revision = "0002_adapters"


def upgrade() -> None:
    op.create_table(
        "payer_key",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("wrapped", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_payer_key_payer", "payer_key", ["payer"])
    op.create_table(
        "answered",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("lease", sa.Text, nullable=False),
        sa.Column("fee", Amount, nullable=False),
        sa.Column("trace_sha256", sa.Text, nullable=False),
        sa.Column("tokens_in", sa.BigInteger, nullable=False),
        sa.Column("tokens_out", sa.BigInteger, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
    )
    op.create_table(
        "reader",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("acknowledged", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replayed",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("matched", sa.BigInteger, nullable=False),
        sa.Column("engine_then", sa.Text, nullable=False),
        sa.Column("engine_now", sa.Text, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
    )
