"""Datanets, declared records and whose came first, snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _kit()
    _datanets()
    _records()
    _snapshots()


def _kit() -> None:
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "operation",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("operation", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
    )


def _datanets() -> None:
    op.create_table(
        "datanet",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("record_count", sa.BigInteger, nullable=False),
        sa.Column("contributor_count", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
    )
    op.create_index("datanet_by_time", "datanet", ["create_time", "id"])


def _records() -> None:
    op.create_table(
        "declaration",
        sa.Column("contributor", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("datanet", sa.Text, sa.ForeignKey("datanet.id"), nullable=False),
        sa.Column("content_root", sa.LargeBinary, nullable=False),
        sa.Column("record_count", sa.Integer, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "record",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("datanet", sa.Text, sa.ForeignKey("datanet.id"), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("contributor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("datanet", "number", name="record_in_order"),
        sa.ForeignKeyConstraint(
            ["contributor", "request_id"],
            ["declaration.contributor", "declaration.request_id"],
            name="record_is_declared",
        ),
    )
    op.create_index("record_by_contributor", "record", ["datanet", "contributor", "number"])
    op.create_table(
        "record_content",
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), primary_key=True),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("canonical", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "first_record",
        sa.Column("fingerprint", sa.LargeBinary, primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )


def _snapshots() -> None:
    op.create_table(
        "snapshot",
        sa.Column("datanet", sa.Text, sa.ForeignKey("datanet.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("record_count", sa.BigInteger, nullable=False),
        sa.Column("contributor_count", sa.BigInteger, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("anchor", sa.Text),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "snapshot_leaf",
        sa.Column("datanet", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("leaf", sa.BigInteger, primary_key=True),
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), nullable=False),
        sa.ForeignKeyConstraint(
            ["datanet", "version"], ["snapshot.datanet", "snapshot.version"], name="leaf_of_snapshot"
        ),
        sa.UniqueConstraint("datanet", "version", "record", name="record_once_in_snapshot"),
    )
