"""Members, closed datanets, words to find datanets by, what accounts have given; and what records say is sealed.

What was kept in clear is moved aside here, and sealed by the service before it serves (`seal_clear`): a migration has
no keys.
"""

from __future__ import annotations

import json
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _datanets()
    _members()
    _use()
    _contents()


def _datanets() -> None:
    for name, given in (("kind", "text"), ("visibility", "public"), ("words", "")):
        op.add_column("datanet", sa.Column(name, sa.Text, nullable=False, server_default=given))
    op.create_index("datanet_by_owner", "datanet", ["owner"])
    op.create_table(
        "datanet_tag",
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("datanet", sa.Text, sa.ForeignKey("datanet.id"), primary_key=True),
    )
    connection = op.get_bind()
    datanet = sa.table("datanet", *map(sa.column, ("id", "definition", "words")))
    tag = sa.table("datanet_tag", *map(sa.column, ("tag", "datanet")))
    for row in connection.execute(sa.select(datanet)).all():
        said = json.loads(row.definition)
        words = _form("\n".join((row.id, said["display_name"], said["description"], *said["tags"])))
        connection.execute(sa.update(datanet).where(datanet.c.id == row.id).values(words=words))
        for text in said["tags"]:
            connection.execute(sa.insert(tag).values(tag=text, datanet=row.id))


def _form(text: str) -> str:
    """As `search` looks for words."""
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFC", visible).split()).casefold()


def _members() -> None:
    op.create_table(
        "member",
        sa.Column("datanet", sa.Text, sa.ForeignKey("datanet.id"), primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
    )
    op.create_index("member_by_account", "member", ["account", "datanet"])


def _use() -> None:
    op.create_table(
        "account_use",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO account_use SELECT contributor, count(*), sum(size) FROM record GROUP BY contributor")


def _contents() -> None:
    op.create_table(
        "vault", sa.Column("id", sa.Text, primary_key=True), sa.Column("mark", sa.LargeBinary, nullable=False)
    )
    for name in ("record_content", "first_record"):
        _move_aside(name)
    op.create_table(
        "record_content",
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "record_key",
        sa.Column("record", sa.Text, sa.ForeignKey("record.id"), primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "first_record",
        sa.Column("fingerprint", sa.LargeBinary, primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )


def _move_aside(name: str) -> None:
    """A table of before, if there is anything in it."""
    if op.get_bind().execute(sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)).first():
        op.rename_table(name, f"{name}_clear")
    else:
        op.drop_table(name)
