"""A writer of transactions on a chain that can be changed."""

from __future__ import annotations

from eth_account import Account

from services.kit.metrics import Metrics
from services.ledger.chain import Call
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.signing import Patience
from services.ledger.store import chain as store
from tests.fake_chain import AT

ACCOUNT = Account.from_key(b"\x01" * 32)
CALL = Call(AT.token, b"data")


def writer_on(database, chain, confirmations=0, *, max_fee=1000, patience=0.0) -> ChainWriter:
    """A new life of the one process that sends."""
    pen = Pen(database, ACCOUNT.address.lower(), "one", Metrics("pen"), seconds=60)
    assert pen.take()
    return ChainWriter(
        database,
        chain,
        ACCOUNT,
        pen,
        Metrics("ledger"),
        confirmations=confirmations,
        poll_seconds=0.01,
        patience=Patience(max_fee, patience),
    )


def stored(database, key="k"):
    return database.read_now(lambda c: store.get(c, key))
