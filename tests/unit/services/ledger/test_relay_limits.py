"""What the relayer pays for an account in a day: everything that was signed, however it was asked for and ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from eth_account import Account
from sqlalchemy import update

from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.ledger import calls, gas_bounds
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.relay import Asked, Relay
from services.ledger.relay_limits import DAY, Limits
from services.ledger.signing import Patience
from services.ledger.store import chain as store
from services.ledger.store.tables import ATTEMPT, METADATA
from tests.fake_chain import AT, FakeChain

ACCOUNT = Account.from_key(b"\x01" * 32)
A, B = "0x" + "a" * 40, "0x" + "b" * 40
SIGNED = 100_000  # gas, by the chain in memory
CALL = calls.deposit_with_permit(AT, A, 5, 4_000_000_000, b"s" * 65)
MOST = gas_bounds.most(CALL)


class Relayer:
    """A relay on a chain in memory, with gas for an account's first three transactions or so."""

    def __init__(self, database):
        self.database, self.chain = database, FakeChain()
        pen = Pen(database, ACCOUNT.address.lower(), "one", Metrics("pen"), seconds=600)
        assert pen.take()
        how = {"confirmations": 0, "poll_seconds": 0.01, "patience": Patience(1000, 60)}
        self.writer = ChainWriter(database, self.chain, ACCOUNT, pen, Metrics("ledger"), **how)
        limits = Limits(deposit=0, claim=0, gas=2 * SIGNED + MOST)
        how = {"wait_seconds": 60, "claim_fee": 0, "limits": limits}
        self.relay = Relay(database, self.chain, self.writer, self, None, Idempotency(METADATA), **how)

    def wake(self):
        """As a follower, which sees nothing."""

    async def deposit(self, request_id: str, account: str = A) -> str:
        """Why it was refused."""
        asked = Asked(f"accounts/{account}", ledger_pb2.RelayDepositRequest(request_id=request_id), request_id)
        with pytest.raises(Fault) as caught:
            await self.relay._deposit(asked, "RelayDeposit", account, 5, CALL)
        return caught.value.reason


@pytest.fixture
async def relayer(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    found = Relayer(database)
    running = asyncio.create_task(found.writer.run())
    yield found
    running.cancel()
    database.close()


async def test_the_same_request_sent_again_after_its_transaction_failed_is_counted(relayer):
    """It failed in its block, and was paid for each time."""
    relayer.chain.failing = True
    assert [await relayer.deposit("r") for _ in range(5)] == ["DEPOSIT_REFUSED"] * 3 + ["RELAY_BUDGET_SPENT"] * 2
    assert len(relayer.chain.sent) == 3
    assert await relayer.deposit("r", B) == "DEPOSIT_REFUSED"  # everybody has their own


async def test_what_was_refused_before_it_was_signed_costs_nothing(relayer):
    relayer.chain.reverting = True
    assert {await relayer.deposit("r") for _ in range(5)} == {"DEPOSIT_REFUSED"}
    relayer.chain.reverting, relayer.chain.failing = False, True
    assert [await relayer.deposit(f"r{n}") for n in range(4)] == ["DEPOSIT_REFUSED"] * 3 + ["RELAY_BUDGET_SPENT"]


async def test_after_a_day_it_is_forgotten(relayer):
    relayer.chain.failing = True
    for _ in range(4):
        last = await relayer.deposit("r")
    assert last == "RELAY_BUDGET_SPENT"
    relayer.database.write_now(lambda c: c.execute(update(ATTEMPT).values(create_time=datetime.now(UTC) - DAY)))
    assert await relayer.deposit("r") == "DEPOSIT_REFUSED"


@pytest.mark.parametrize("key", ("deposit:{}:r", "claim:{}:epochs/1:5", "claim:{}:signed:ab", "transfer:{}/5/ab"))
def test_every_kind_counts_for_its_account_alone(tmp_path, key):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    limits = Limits(deposit=0, claim=0, gas=MOST)

    def plan(c, account, name):
        store.plan(c, name.format(account), CALL)
        limits.check_budget(c, f"claim:{account}:another")

    database.write_now(lambda c: plan(c, A, key))
    database.write_now(lambda c: plan(c, B, key))
    with pytest.raises(Fault, match="gas a day"):
        database.write_now(lambda c: plan(c, A, key + "another"))
    database.close()
