"""Several snapshots a run, licences, checkpoints, revisions that are deprecated or flagged, records that are erased."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _fine_tunes()
    for column in (
        sa.Column("tokens", sa.BigInteger),
        sa.Column("valid_loss", sa.Float(53)),
        sa.Column("valid_mean_token_accuracy", sa.Float(53)),
    ):
        op.add_column("event", column)
    op.create_table(
        "checkpoint",
        sa.Column("fine_tune", sa.Text, sa.ForeignKey("fine_tune.id"), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("train_loss", sa.Float(53)),
        sa.Column("valid_loss", sa.Float(53), nullable=False),
        sa.Column("valid_mean_token_accuracy", sa.Float(53)),
        sa.Column("trained_tokens", sa.BigInteger),
    )
    _revisions()
    _snapshots()


def _fine_tunes() -> None:
    texts = ("snapshots", "licence", "clone_of")
    for name, given in (*((name, "") for name in texts), ("use", "commercial"), ("attributions", "[]")):
        op.add_column("fine_tune", sa.Column(name, sa.Text, nullable=False, server_default=given))
    op.add_column("fine_tune", sa.Column("trained_tokens", sa.BigInteger, nullable=False, server_default="0"))
    for name in ("start_time", "estimated_finish"):
        op.add_column("fine_tune", sa.Column(name, _TIME))
    connection = op.get_bind()
    table = sa.table("fine_tune", *(sa.column(c) for c in ("number", "snapshot", "snapshot_root", "snapshots")))
    for row in connection.execute(sa.select(table)).all():
        pins = json.dumps([{"name": row.snapshot, "root": row.snapshot_root}])
        connection.execute(sa.update(table).where(table.c.number == row.number).values(snapshots=pins))
    for name in ("snapshot", "snapshot_root"):
        op.drop_column("fine_tune", name)


def _revisions() -> None:
    op.add_column("revision", sa.Column("deprecate_time", _TIME))
    op.add_column("revision", sa.Column("deprecate_reason", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "revision_flag",
        sa.Column("revision", sa.Text, sa.ForeignKey("revision.name"), primary_key=True),
        sa.Column("record", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
    )


def _snapshots() -> None:
    # What was read before has no list of its records, by which erased ones are found: it is read again.
    op.drop_table("snapshot")
    op.create_table(
        "snapshot",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("root", sa.Text, primary_key=True),
        sa.Column("records", sa.Text, nullable=False),
        sa.Column("licences", sa.Text, nullable=False),
    )
    op.create_table(
        "snapshot_record",
        sa.Column("record", sa.Text, primary_key=True),
        sa.Column("snapshot", sa.Text, primary_key=True),
        sa.Column("root", sa.Text, primary_key=True),
    )
    op.create_index("snapshot_record_of_snapshot", "snapshot_record", ["snapshot", "root"])
    op.create_table(
        "erased_record",
        sa.Column("record", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
    )
