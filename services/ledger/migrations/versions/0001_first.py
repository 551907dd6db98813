"""Journals, payers, leases, receipts, epochs, transactions, sign-in challenges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.kit.database import Amount

revision = "0001"
down_revision = None


def upgrade() -> None:
    _of_the_kit()
    _books()
    _receipts()
    _payers()
    _epochs()
    _errands()
    _chain()
    op.create_table(
        "challenge",
        sa.Column("nonce", sa.Text, primary_key=True),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_challenge_expire_time", "challenge", ["expire_time"])


def _of_the_kit() -> None:
    op.create_table(
        "consumer",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "operation",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("operation", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def _books() -> None:
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("journals", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("payload_sha256", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_journal_cause", "journal", ["cause"])
    op.create_index("ix_journal_epoch", "journal", ["epoch"])
    op.create_table(
        "posting",
        sa.Column("journal", sa.BigInteger, sa.ForeignKey("journal.number"), primary_key=True, autoincrement=False),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("book", sa.Text, nullable=False),
        sa.Column("amount", Amount, nullable=False),
    )
    op.create_index("posting_by_book", "posting", ["book", "journal", "line"])
    op.create_table(
        "balance",
        sa.Column("book", sa.Text, primary_key=True),
        sa.Column("credits", Amount, nullable=False),
        sa.Column("debits", Amount, nullable=False),
    )


def _receipts() -> None:
    op.create_table(
        "receipt",
        sa.Column("response", sa.Text, primary_key=True),
        sa.Column("journal", sa.BigInteger, sa.ForeignKey("journal.number"), nullable=False, unique=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("fee", Amount, nullable=False),
        sa.Column("shares", sa.Text, nullable=False),
        sa.Column("payees", sa.Text, nullable=False),
    )
    op.create_table(
        "rejected_receipt",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_rejected_receipt_response", "rejected_receipt", ["response"])


def _payers() -> None:
    op.create_table(
        "payer",
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("cap", Amount, nullable=False),
        sa.Column("deadline", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("spent", Amount, nullable=False),
        sa.Column("redeemed", Amount, nullable=False),
        sa.Column("withdrawing", Amount, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("amount", Amount, nullable=False),
        sa.Column("held", Amount, nullable=False),
        sa.Column("charged", Amount, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
        sa.Column("reserved_until", sa.BigInteger, nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
    )
    op.create_index("lease_by_payer", "lease", ["payer", "settled", "reserved_until"])


def _epochs() -> None:
    op.create_table(
        "epoch",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("log_root", sa.Text, nullable=False),
        sa.Column("receipt_count", sa.BigInteger, nullable=False),
        sa.Column("leaf_count", sa.Integer, nullable=False),
        sa.Column("total", Amount, nullable=False),
        sa.Column("transaction", sa.Text, nullable=False),
        sa.Column("activate_time", sa.BigInteger, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_epoch_state", "epoch", ["state"])
    op.create_table(
        "leaf",
        sa.Column("epoch", sa.BigInteger, sa.ForeignKey("epoch.number"), primary_key=True, autoincrement=False),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("cumulative", Amount, nullable=False),
    )


def _errands() -> None:
    op.create_table(
        "redemption",
        sa.Column("batch", sa.Text, primary_key=True),
        sa.Column("payer", sa.Text, primary_key=True),
        sa.Column("spent", Amount, nullable=False),
        sa.Column("cap", Amount, nullable=False),
        sa.Column("deadline", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "anchoring",
        sa.Column("snapshot", sa.Text, primary_key=True),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("ix_anchoring_done", "anchoring", ["done"])


def _chain() -> None:
    op.create_table(
        "sender",
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chain_transaction",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("to", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("nonce", sa.BigInteger),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("hash", sa.Text),
        sa.Column("block", sa.BigInteger),
        sa.Column("block_hash", sa.Text),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("sender", "nonce"),
    )
    op.create_index("ix_chain_transaction_state", "chain_transaction", ["state"])
    op.create_index("ix_chain_transaction_hash", "chain_transaction", ["hash"])
    op.create_table(
        "followed",
        sa.Column("contract", sa.Text, primary_key=True),
        sa.Column("block", sa.BigInteger, nullable=False),
        sa.Column("block_hash", sa.Text, nullable=False),
    )
