"""People who keep a ledger busy through its deaths, and what must be true once they have all their answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from openledger import spending
from openledger.client import ApiError, Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.testing import as_service, endpoints
from services.ledger import keys
from services.ledger.signin import Issuer
from services.ledger.store.tables import ATTEMPT, TRANSACTION
from tests import chains
from tests.ledger_and_chain import Agreement
from tests.ledger_world import DAY, EARNERS, OPEN, OPERATOR, TREASURY, World, a_receipt


class Load:
    """People who ask for things and ask again, under the same request id, until they have their answer."""

    def __init__(self, world: World, where: str) -> None:
        self.world, self.where = world, where
        self.payers = [Wallet(f"0x{number:064x}") for number in (0x201, 0x202)]
        self.fees = dict.fromkeys((p.address for p in self.payers), 0)
        self.deposited = dict.fromkeys((p.address for p in self.payers), 0)
        self.closed: list[str] = []
        self.anchored: list[str] = []
        self.stop = False

    def pays_in(self) -> None:
        """What the payers will deposit is theirs."""
        for payer in self.payers:
            self.world.rpc.transfer(TREASURY, self.world.chain().contracts.token, payer.address, 10**6 * OPEN)

    def client(self, wallet: Wallet) -> Client:
        """With a session from the ledger's own key: nobody has to sign in at every life."""
        issuer = Issuer(keys.session_key(self.world.folder / "ledger" / "sessions.pem"))
        token = lambda: issuer.token(wallet.address, datetime.now(UTC), 3600)  # noqa: E731
        return Client(endpoints(ledger=self.where), token=token)

    async def asks(self, client: Client, method: str, request: Any) -> Any:
        """The answer, however many lives it takes.  None when people are told to stop."""
        while True:
            try:
                return await client.call(getattr(client.ledger, method), request, 5)
            except ApiError as error:
                if error.reason in ("NO_CLAIM", "NOTHING_TO_CLAIM", "EMPTY_EPOCH", "EPOCH_IN_PROGRESS"):
                    return error
                if error.code.name not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"):
                    raise
                await asyncio.sleep(0.05)

    async def pays(self, payer: Wallet) -> None:
        """Deposits, and an answer after each, until told to stop."""
        async with self.client(payer) as client, as_service("openlora", ledger=self.where) as openlora:
            await self.asks(client, "AuthoriseSpending", self.authorisation(payer))
            while not self.stop:
                request = await asyncio.to_thread(self.permit, payer, OPEN)
                while not (await self.asks(client, "RelayDeposit", request)).credited:
                    pass
                self.deposited[payer.address] += OPEN
                take = ledger_pb2.AcquireLeaseRequest(
                    account=payer.account, amount=str(OPEN // 2), request_id=request_id()
                )
                lease = await self.asks(openlora, "AcquireLease", take)
                for part in (7, 11, 13):
                    self.fees[payer.address] += OPEN // part
                    self.world.attribution.give(a_receipt(payer, lease.name, OPEN // part))

    async def closes(self) -> None:
        async with self.client(OPERATOR) as client:
            while not self.stop:
                operation = await self.asks(client, "CloseEpoch", ledger_pb2.CloseEpochRequest(request_id=request_id()))
                if not isinstance(operation, ApiError):
                    self.closed.append(operation.name)
                await asyncio.sleep(0.1)

    async def claims(self) -> None:
        async with self.client(OPERATOR) as client:
            while not self.stop:
                for earner in EARNERS:
                    request = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=request_id())
                    await self.asks(client, "RelayClaim", request)
                await asyncio.sleep(0.1)

    async def anchors(self) -> None:
        async with as_service("datanet", ledger=self.where) as client:
            while not self.stop:
                name = f"datanets/d/snapshots/{len(self.anchored) + 1}"
                request = ledger_pb2.AnchorSnapshotRequest(
                    snapshot=name, root=b"r" * 32, record_count=1, request_id=request_id()
                )
                await self.asks(client, "AnchorSnapshot", request)
                self.anchored.append(name)
                await asyncio.sleep(0.5)

    def authorisation(self, payer: Wallet) -> ledger_pb2.AuthoriseSpendingRequest:
        cap, deadline = 10**6 * OPEN, int(time.time()) + 10 * DAY
        granted = spending.SpendingAuthorisation(payer.address, cap, deadline)
        escrow = self.world.chain().contracts.escrow
        signature = payer.sign(spending.authorisation_message(31337, escrow, granted))
        return ledger_pb2.AuthoriseSpendingRequest(
            account=payer.account, cap=str(cap), deadline=deadline, signature=signature, request_id=request_id()
        )

    def permit(self, payer: Wallet, amount: int) -> ledger_pb2.RelayDepositRequest:
        at, rpc = self.world.chain().contracts, self.world.rpc
        deadline, nonce = int(time.time()) + DAY, rpc.permit_nonce(at.token, payer.address)
        typed = spending.permit_message(
            31337, at.token, owner=payer.address, spender=at.escrow, value=amount, nonce=nonce, deadline=deadline
        )
        return ledger_pb2.RelayDepositRequest(
            account=payer.account,
            amount=str(amount),
            deadline=deadline,
            permit_signature=payer.sign(typed),
            request_id=request_id(),
        )

    def people(self) -> list[Callable[[], Awaitable[None]]]:
        paying = [lambda p=payer: self.pays(p) for payer in self.payers]
        return [*paying, self.closes, self.claims, self.anchors]


def environment(world: World, **more: Any) -> dict[str, str]:
    """The service's settings as it reads them."""
    return {
        f"OPENLEDGER_LEDGER_{key.upper()}": value
        if isinstance(value, str)
        else json.dumps(value, default=str).strip('"')
        for key, value in (world.given() | more).items()
    }


async def settled(world: World, load: Load) -> None:
    """Everything that was asked for has come to its end."""
    database, deadline = Database(world.config().database), time.monotonic() + 60
    waiting = "SELECT count(*) FROM chain_transaction WHERE state NOT IN ('final', 'failed')"
    async with load.client(OPERATOR) as client:
        while True:
            closing = ledger_pb2.CloseEpochRequest(request_id=request_id())
            last = await load.asks(client, "CloseEpoch", closing)
            open_ = database.read_now(lambda c: c.exec_driver_sql(waiting).scalar_one())
            if isinstance(last, ApiError) and last.reason == "EMPTY_EPOCH" and not open_:
                break
            assert time.monotonic() < deadline, (last, open_)
            await asyncio.sleep(0.2)
    await asyncio.sleep(1)  # what is final has been followed
    database.close()


async def check(world: World, load: Load) -> None:
    database, chain = Database(world.config().database), world.chain()
    Agreement(database, chain, OPERATOR.address, load.fees).everything()
    for payer in load.payers:
        assert chain.balance(payer.address) + chain.spent(payer.address) == load.deposited[payer.address]
        assert chain.spent(payer.address) == load.fees[payer.address]
    assert all(chain.snapshot("datanets/d", number + 1) for number in range(len(load.anchored)))
    proposed = [
        log["fields"]["epoch"]
        for log in chain.logs("RewardsDistributor", chain.contracts.distributor, "RootProposed", 0, chain.head().number)
    ]
    assert proposed == list(range(1, len(proposed) + 1)), "an epoch has two roots, or none"
    assert set(load.closed) <= {f"operations/epoch-{number}.1" for number in proposed}
    rows = database.read_now(lambda c: c.execute(TRANSACTION.select()).all())
    attempts = database.read_now(lambda c: c.execute(ATTEMPT.select()).all())
    mine = sent_on_chain(world)
    creations = 5
    assert mine.keys() - {row.hash for row in attempts} == set(list(mine)[:creations]), "sent and not kept"
    assert [*mine.values()] == list(range(len(mine))), "a nonce is left out, or used twice"
    assert len(mine) == creations + len({row.nonce for row in attempts})
    assert sent_twice(rows) == []
    database.close()


def sent_twice(rows: Iterable[Any]) -> list[str]:
    """Keys of roots and claims that went through although another of the same contract and data had."""
    through = [row for row in rows if row.state == "final" and row.key.startswith(("root:", "claim:"))]
    seen = Counter((row.to, row.data) for row in through)
    return [row.key for row in through if seen[row.to, row.data] > 1]


def sent_on_chain(world: World) -> dict[str, int]:
    """The operator's transactions in blocks, in order: hash to nonce."""
    head = int(chains.rpc(world.rpc_url, "eth_blockNumber"), 16)
    found = {}
    for number in range(head + 1):
        for tx in chains.rpc(world.rpc_url, "eth_getBlockByNumber", hex(number), True)["transactions"]:
            if tx["from"] == OPERATOR.address:
                found[tx["hash"]] = int(tx["nonce"], 16)
    return found
