"""How long a fine-tune has trained in all of its lives, and revisions whose files are on their way to the public.

Records have no licences of their own any more: nobody ever gave any.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fine_tune", sa.Column("training_seconds", sa.Float(53), nullable=False, server_default="0"))
    op.add_column("revision", sa.Column("published", sa.Boolean, nullable=False, server_default=sa.true()))
    op.drop_column("snapshot", "licences")
