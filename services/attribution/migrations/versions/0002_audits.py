"""Audited answers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "answer_audit",
        sa.Column("response", sa.Text, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("paid", sa.Float, nullable=False),
        sa.Column("shuffled", sa.Float, nullable=False),
        sa.Column("document_sha256", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_answer_audit_revision", "answer_audit", ["revision", "create_time"])
    op.create_table(
        "model_grade",
        sa.Column("revision", sa.Text, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
