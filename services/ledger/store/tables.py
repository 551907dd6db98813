"""The ledger's tables.  Amounts are exact (`Amount`), times Unix seconds or timezone-aware, hashes lower-case hex."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite

from services.kit.consumer import consumer_table
from services.kit.database import Amount
from services.kit.idempotency import idempotency_table
from services.kit.operations import operations_table

METADATA = MetaData()
CONSUMER = consumer_table(METADATA)
IDEMPOTENCY = idempotency_table(METADATA)
OPERATION = operations_table(METADATA)

# The one row that every writer of journals locks first: journals are numbered without gaps, and one at a time.
HEAD = Table(
    "head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("journals", BigInteger, nullable=False),
)
# `epoch`: the one that settles it, of inference journals; null while it is open.
JOURNAL = Table(
    "journal",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("payload_sha256", Text, nullable=False),
    Column("cause", Text, nullable=False, index=True),
    Column("epoch", BigInteger, index=True),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
POSTING = Table(
    "posting",
    METADATA,
    Column("journal", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("book", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Index("posting_by_book", "book", "journal", "line"),
    # PostgreSQL would look each row's journal up: there the trigger that weighs them sees to that, for all at once.
    ForeignKeyConstraint(["journal"], ["journal.number"]).ddl_if("sqlite"),
)
# By which rule and for which platform fees were split from then on; `receipts_read`: of Attribution's log by then.
PUBLISHED_TERMS = Table(
    "published_terms",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("rule_sha256", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("receipts_read", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
# Sums of each book's postings, kept in the transaction that posts.
BALANCE = Table(
    "balance",
    METADATA,
    Column("book", Text, primary_key=True),
    Column("credits", Amount, nullable=False),
    Column("debits", Amount, nullable=False),
)
# What all postings up to a journal sum to (`control`): nobody adds them again.  Money is in it as text.
CONTROL_TOTAL = Table(
    "control_total",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("journals", BigInteger, nullable=False),
    Column("totals", Text, nullable=False),
    Column("whole_time", BigInteger, nullable=False),
)
PAYER = Table(
    "payer",
    METADATA,
    Column("address", Text, primary_key=True),
    Column("cap", Amount, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("spent", Amount, nullable=False),
    Column("redeemed", Amount, nullable=False),
    Column("withdrawing", Amount, nullable=False),
)
LEASE = Table(
    "lease",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("payer", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("held", Amount, nullable=False),
    Column("charged", Amount, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
    Column("reserved_until", BigInteger, nullable=False),
    Column("released", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Index("lease_by_payer", "payer", "settled", "reserved_until"),
)
RECEIPT = Table(
    "receipt",
    METADATA,
    Column("response", Text, primary_key=True),
    Column("journal", BigInteger, nullable=False, unique=True),
    Column("sha256", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("fee", Amount, nullable=False),
    Column("shares", Text, nullable=False),
    Column("payees", Text, nullable=False),
    ForeignKeyConstraint(["journal"], ["journal.number"]).ddl_if("sqlite"),  # as of postings
)
# What receipts say, for settling them together: the signed document, which comes before its journal.
DOCUMENT = Table(
    "receipt_document",
    METADATA,
    Column("journal", BigInteger, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    ForeignKeyConstraint(["journal"], ["journal.number"]).ddl_if("sqlite"),
)
# Which journals a sealing settled: those above one number, through another.  A veto does not undo it.
SETTLEMENT = Table(
    "settlement",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("above", BigInteger, nullable=False),
    Column("through", BigInteger, nullable=False),
)
# Which journal took which one back, and the operator's signed word for it.
CORRECTION = Table(
    "correction",
    METADATA,
    Column("journal", BigInteger, primary_key=True, autoincrement=False),
    Column("corrects", BigInteger, nullable=False, unique=True),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
REJECTED = Table(
    "rejected_receipt",
    METADATA,
    Column("sha256", Text, primary_key=True),
    Column("response", Text, nullable=False, index=True),
    Column("payer", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
# `attempt` grows when a vetoed epoch is sealed again under its number.  `bundle` is null until it is published.
# `held_up` says why it does not go on; `waiting` is what its leaves leave for the next epoch, all together.
EPOCH = Table(
    "epoch",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("root", Text, nullable=False),
    Column("log_root", Text, nullable=False),
    Column("receipt_count", BigInteger, nullable=False),
    Column("leaf_count", Integer, nullable=False),
    Column("total", Amount, nullable=False),
    Column("transaction", Text, nullable=False),
    Column("activate_time", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("bundle", Text),
    Column("held_up", Text, nullable=False, server_default=""),
    Column("waiting", Amount, nullable=False, server_default="0"),
)
# What the bundle of an epoch that has one says of splits, as JSON.
BUNDLE_SPLITS = Table(
    "bundle_splits",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
)
# An epoch's leaves, and beside them what waits for the next one, in pages in the order of accounts (`leaf_pages`).
# `node`: the page's node in the epoch's tree; null of epochs that an earlier version sealed, and of what waits.
LEAF_PAGE = Table(
    "leaf_page",
    METADATA,
    Column("epoch", BigInteger, ForeignKey("epoch.number"), primary_key=True, autoincrement=False),
    Column("waiting", Boolean, primary_key=True),
    Column("first", LargeBinary, primary_key=True),
    Column("entries", LargeBinary, nullable=False),
    Column("node", LargeBinary),
)
# What is to be taken of payers' deposits, each line as its payer had signed it when it was planned.
REDEMPTION = Table(
    "redemption",
    METADATA,
    Column("batch", Text, primary_key=True),
    Column("payer", Text, primary_key=True),
    Column("spent", Amount, nullable=False),
    Column("cap", Amount, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
ANCHORING = Table(
    "anchoring",
    METADATA,
    Column("snapshot", Text, primary_key=True),
    Column("root", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("done", Boolean, nullable=False, index=True),
)
REGISTRATION = Table(
    "registration",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("index_root", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("snapshots", Text, nullable=False),
    Column("developer", Text, nullable=False),
    Column("developer_bps", Integer, nullable=False),
    Column("stakers_bps", Integer, nullable=False),
    Column("operation", Text, nullable=False),
    Column("done", Boolean, nullable=False, index=True),
)
# Whose turn it is to send, and until when (Unix milliseconds by the database's clock).  `fence` tells turns apart: the
# newest holds the pen, and an older one finds out in its next transaction.
SENDER = Table(
    "sender",
    METADATA,
    Column("address", Text, primary_key=True),
    Column("nonce", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
TRANSACTION = Table(
    "chain_transaction",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("state", Text, nullable=False, index=True),
    Column("to", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("sender", Text),
    Column("nonce", BigInteger),
    Column("raw", LargeBinary),
    Column("hash", Text, index=True),
    Column("block", BigInteger),
    Column("block_hash", Text),
    Column("error", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    # Two transactions of one nonce: one of them would never be mined.
    UniqueConstraint("sender", "nonce"),
)
# Everything that was signed, under whatever fee: any of a nonce's may be the one that is mined.
ATTEMPT = Table(
    "chain_attempt",
    METADATA,
    Column("hash", Text, primary_key=True),
    Column("key", Text, nullable=False, index=True),
    Column("sender", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("chain_attempt_by_nonce", "sender", "nonce"),
)
# Up to which block events were read: none has no hash.  `read_time`: Unix seconds at which everything that counted then
# had been read; null while some of it has not.  `take_backs`: how often the chain took back what was read.
FOLLOWED = Table(
    "followed",
    METADATA,
    Column("contract", Text, primary_key=True),
    Column("block", BigInteger, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("read_time", BigInteger),
    Column("take_backs", BigInteger, nullable=False, server_default="0"),
)
# Up to when (Unix seconds) all receipts of a log were read, and how a break holds (`reading`); no row: none are.
RECEIPTS_READ = Table(
    "receipts_read",
    METADATA,
    Column("source", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("stands", BigInteger, nullable=False, server_default="0"),
    Column("goes", BigInteger, nullable=False, server_default="0"),
)
# From which block on which split of a revision (SHA-256 of its manifest) holds; `time` is the block's.
SPLIT_CHANGE = Table(
    "split_change",
    METADATA,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("developer_bps", Integer, nullable=False),
    Column("stakers_bps", Integer, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Index("split_change_by_digest", "digest", "block", "log_index"),
)
# What the chain told and has not taken back; what it took back is in the journals alone.
EVENT = Table(
    "chain_event",
    METADATA,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("block_hash", Text, nullable=False),
    Column("journal", Text),
    Column("account", Text, nullable=False),
    Column("withdrawing", Amount),
    Column("redeemed", Amount),
    Index("chain_event_by_account", "account", "block", "log_index"),
)
# Sign-in messages that were used; `message` is from when they were kept until then, and is empty.
CHALLENGE = Table(
    "challenge",
    METADATA,
    Column("nonce", Text, primary_key=True),
    Column("message", Text, nullable=False),
    Column("expire_time", BigInteger, nullable=False, index=True),
)

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_new(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is taken; says whether it was inserted."""
    statement = _INSERT[connection.dialect.name](table).values(**values).on_conflict_do_nothing()
    # Asked for by RETURNING: not every driver counts the rows of such a statement.
    return connection.execute(statement.returning(*table.primary_key.columns)).first() is not None
