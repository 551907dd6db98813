"""By which place of 10,000 an audited answer was drawn, so that a grade can be over those of the share in force.

And how it agreed with models of halves of the contributors.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("answer_audit", sa.Column("place", sa.Integer, nullable=False, server_default="0"))
    op.add_column("answer_audit", sa.Column("halves", sa.Float))
