"""The service's tables.  Times are microseconds since 1970 (UTC), addresses lower-case, documents JSON."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from services.kit.idempotency import idempotency_table
from services.kit.operations import operations_table

METADATA = MetaData()
idempotency_table(METADATA)
operations_table(METADATA)

DATANET = Table(
    "datanet",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    Column("contributor_count", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    # Of the definition, what is looked for: see `search.about`.
    Column("kind", Text, nullable=False, server_default="text"),
    Column("visibility", Text, nullable=False, server_default="public"),
    Column("words", Text, nullable=False, server_default=""),
    # The number of the last record that it had when it was made private; what came in openly stays that.
    Column("open_until", BigInteger, nullable=False, server_default="0"),
    Index("datanet_by_time", "create_time", "id"),
    Index("datanet_by_owner", "owner"),
)

TAG = Table(
    "datanet_tag",
    METADATA,
    Column("tag", Text, primary_key=True),
    Column("datanet", Text, ForeignKey("datanet.id"), primary_key=True),
)

MEMBER = Table(
    "member",
    METADATA,
    Column("datanet", Text, ForeignKey("datanet.id"), primary_key=True),
    Column("account", Text, primary_key=True),
    Column("role", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Index("member_by_account", "account", "datanet"),
)

# By which a service knows its vault's key again.
VAULT = Table(
    "vault",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("mark", LargeBinary, nullable=False),
)

# Kept whole: a signature proves authorship only together with what was signed.
DECLARATION = Table(
    "declaration",
    METADATA,
    Column("contributor", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("datanet", Text, ForeignKey("datanet.id"), nullable=False),
    Column("content_root", LargeBinary, nullable=False),
    Column("record_count", Integer, nullable=False),
    Column("licence", Text, nullable=False),
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)

RECORD = Table(
    "record",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("datanet", Text, ForeignKey("datanet.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("contributor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="accepted"),
    # When, and why, it came into a state other than that.
    Column("state_time", BigInteger),
    Column("state_message", Text, nullable=False, server_default=""),
    UniqueConstraint("datanet", "number", name="record_in_order"),
    ForeignKeyConstraint(
        ["contributor", "request_id"],
        ["declaration.contributor", "declaration.request_id"],
        name="record_is_declared",
    ),
    Index("record_by_contributor", "datanet", "contributor", "number"),
)

# What accounts have given in all datanets, which has a bound.
USE = Table(
    "account_use",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# Apart from the record, so that what a record says can be destroyed while its commitment stays in old trees; and its
# key apart from that, for whoever has one without the other has nothing.
CONTENT = Table(
    "record_content",
    METADATA,
    Column("record", Text, ForeignKey("record.id"), primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
)

KEY = Table(
    "record_key",
    METADATA,
    Column("record", Text, ForeignKey("record.id"), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

# What checks found in a record (JSON), and the request id of its contributor's word, where it waited for that.
SCREENING = Table(
    "screening",
    METADATA,
    Column("record", Text, ForeignKey("record.id"), primary_key=True),
    Column("findings", Text, nullable=False),
    Column("confirmation", Text, nullable=False),
)

# Erasures: `reason`, which was said of it, is kept and told to nobody; `told` is what those hear who trained on it.
# How far each is: `destroyed` once its key's share is overwritten, whose place is kept; `revisions` once the Factory
# has said which were trained on it (names, JSON).
ERASURE = Table(
    "erasure",
    METADATA,
    Column("record", Text, ForeignKey("record.id"), primary_key=True),
    Column("operation", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("told", Text, nullable=False),
    Column("share", LargeBinary),
    Column("destroyed", Boolean, nullable=False, server_default=false()),
    Column("revisions", Text),
    Column("create_time", BigInteger, nullable=False),
)

# Whose record said a thing first, in any datanet, by a keyed hash.  The primary key decides races between contributors.
FIRST = Table(
    "first_record",
    METADATA,
    Column("fingerprint", LargeBinary, primary_key=True),
    Column("record", Text, nullable=False),
)

# What is kept of what a record's text is like, sealed under the record's key, and by what it is found, 8 bytes a
# feature.  Numbers are in the order in which rows came, and none is used twice: a record that is erased leaves its row
# empty.
LIKENESS = Table(
    "likeness",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("record", Text, ForeignKey("record.id"), nullable=False, unique=True),
    # When the record came in: it may be of before likeness was looked for.
    Column("came", BigInteger, nullable=False),
    Column("features", LargeBinary, nullable=False),
    Column("box", LargeBinary, nullable=False),
)

# Which records have a feature, by a keyed hash of it, those that came first in front.
POSTING = Table(
    "likeness_posting",
    METADATA,
    Column("feature", BigInteger, primary_key=True, autoincrement=False),
    Column("came", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

SNAPSHOT = Table(
    "snapshot",
    METADATA,
    Column("datanet", Text, ForeignKey("datanet.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("root", LargeBinary, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    Column("contributor_count", BigInteger, nullable=False),
    Column("licence", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("anchor", Text),
    Column("create_time", BigInteger, nullable=False),
    # What its owner said when it was frozen; null of snapshots of before that was kept.
    Column("definition", Text),
    # Once its files are made: their manifest's SHA-256, its entry in the datanet's log, and the log's root with it.
    Column("manifest", Text),
    Column("entry", LargeBinary),
    Column("log_root", LargeBinary),
)

LEAF = Table(
    "snapshot_leaf",
    METADATA,
    Column("datanet", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("leaf", BigInteger, primary_key=True),
    Column("record", Text, ForeignKey("record.id"), nullable=False),
    ForeignKeyConstraint(["datanet", "version"], ["snapshot.datanet", "snapshot.version"], name="leaf_of_snapshot"),
    UniqueConstraint("datanet", "version", "record", name="record_once_in_snapshot"),
    Index("leaf_by_record", "record"),
)
