"""Fine-tunes, their events, adapters, published revisions, snapshots that were read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_table("adapter", sa.Column("id", sa.Text, primary_key=True), sa.Column("owner", sa.Text, nullable=False))
    op.create_table(
        "snapshot",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("root", sa.Text, primary_key=True),
        sa.Column("records", sa.Text, nullable=False),
    )
    _fine_tunes()
    op.create_table(
        "revision",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("adapter", sa.Text, sa.ForeignKey("adapter.id"), nullable=False),
        sa.Column("fine_tune", sa.Text, sa.ForeignKey("fine_tune.id"), nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
    )
    op.create_index("revision_of_adapter", "revision", ["adapter", "number"])


def _fine_tunes() -> None:
    texts = ("owner", "adapter", "base", "spec", "snapshot", "snapshot_root", "base_sha256")
    later = ("state", "reason", "message", "records", "output", "revision")
    op.create_table(
        "fine_tune",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*texts, *later)),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("metrics", sa.Text),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("end_time", _TIME),
    )
    op.create_index("fine_tune_of_owner", "fine_tune", ["owner", "number"])
    op.create_index("fine_tune_in_state", "fine_tune", ["state", "number"])
    op.create_table(
        "event",
        sa.Column("fine_tune", sa.Text, sa.ForeignKey("fine_tune.id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("steps", sa.Integer),
        sa.Column("loss", sa.Float(53)),
        sa.Column("tokens_per_second", sa.Float(53)),
        sa.Column("seconds_left", sa.Float(53)),
    )
