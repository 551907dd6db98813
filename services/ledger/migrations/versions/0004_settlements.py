"""Receipts' documents, for settling an epoch's answers together; which journals were settled; epochs' bundles.

Receipts that were booked before have no document and are not settled again: their contributors were paid at once.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "receipt_document",
        sa.Column("journal", sa.BigInteger, sa.ForeignKey("journal.number"), primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("placebos", sa.Integer, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_index("receipt_document_by_group", "receipt_document", ["model", "rule", "placebos", "journal"])
    op.create_table(
        "settlement",
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("above", sa.BigInteger, nullable=False),
        sa.Column("through", sa.BigInteger, nullable=False),
    )
    op.add_column("epoch", sa.Column("bundle", sa.Text))
