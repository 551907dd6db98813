"""Payers' keys that seal nothing more, until they are destroyed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_retired_keys"
down_revision = "0003_sealed_traces"


def upgrade() -> None:
    # They have sealed up to now, however long: only from now on does a key seal for a month.
    op.execute(sa.text("UPDATE payer_key SET create_time = CURRENT_TIMESTAMP"))
    op.add_column("payer_key", sa.Column("retired", sa.Boolean, nullable=False, server_default=sa.false()))
