"""A ledger over a real chain, people with wallets, and an Attribution that says what the test wants it to."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from eth_account import Account

from openledger import canonical, receipt, spending, split
from openledger.attribution.v1 import attribution_pb2, attribution_pb2_grpc
from openledger.cli.rpc import Rpc
from openledger.client import ApiError, Client, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from openledger.receipt import Model
from openledger.receipt import Receipt as Answer
from openledger.split import NAT, Evidence, Rule
from services.kit.testing import as_service, as_wallet, served, settings
from services.ledger.__main__ import assemble
from services.ledger.chain import Call, Contracts, Receipt
from services.ledger.chain_node import Node
from services.ledger.chain_rpc import RpcChain
from services.ledger.config import LedgerConfig
from services.ledger.signing import sign
from tests.chains import creation

OPEN = 10**18
OPERATOR = Wallet("0x" + "01" * 32)
TREASURY = Wallet("0x" + "02" * 32)
SIGNER = Wallet("0x" + "03" * 32)
PLATFORM = Wallet("0x" + "04" * 32)
DEVELOPER = Wallet("0x" + "05" * 32)
GUARDIAN = Wallet("0x" + "06" * 32)
EARNERS = tuple(Wallet("0x" + f"{number:064x}") for number in range(0x100, 0x105))
FUNDED = (OPERATOR.address, TREASURY.address, GUARDIAN.address)
DAY = 86_400


def a_receipt(payer: Wallet, lease: str, fee: int, **changes: Any) -> Answer:
    """A signed receipt by which the earners are paid in the order of their numbers; `changes` come before signing."""
    evidence = Evidence(
        nll_base=3 * NAT,
        nll_model=NAT,
        scores={earner.address: (place + 1) * NAT // 10 for place, earner in enumerate(EARNERS)},
        placebos=(NAT // 1000, -NAT // 1000),
        errors={earner.address: NAT // 1000 for earner in EARNERS},
    )
    platform_fee = fee // 10
    rule = changes.get("rule", Rule())
    plain = Answer(
        response=f"responses/{uuid.uuid4().hex}",
        trace_sha256="a" * 64,
        payer=payer.account,
        lease=lease,
        model=Model("base", "b" * 64, "adapters/a/revisions/" + "c" * 64, "d" * 64),
        method="test",
        rule=rule,
        evidence=evidence,
        fee=fee,
        platform_fee=platform_fee,
        shares=split.split_fee(fee, platform_fee, evidence, rule),
        developer=DEVELOPER.address,
        platform=PLATFORM.address,
    )
    return receipt.sign(replace(plain, **changes), SIGNER.private_key)


class Attribution(attribution_pb2_grpc.AttributionServiceServicer):
    """Its log of receipts is a list."""

    def __init__(self) -> None:
        self.documents: list[bytes] = []

    def give(self, *documents: Answer | bytes) -> None:
        self.documents += [d if isinstance(d, bytes) else d.dumps() for d in documents]

    async def GetReceipt(self, request: Any, context: Any) -> attribution_pb2.Receipt:
        for document in self.documents:
            found = receipt.parse(document)
            if found.response == request.name.replace("receipts/", "responses/"):
                sha256 = canonical.sha256(document)
                return attribution_pb2.Receipt(name=request.name, document=document, sha256=sha256)
        await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.name}")
        raise AssertionError

    async def ReadReceipts(self, request: Any, context: Any) -> attribution_pb2.ReadReceiptsResponse:
        after = request.after_offset
        entries = [
            attribution_pb2.ReceiptEntry(offset=number, receipt=attribution_pb2.Receipt(document=document))
            for number, document in enumerate(self.documents, 1)
            if after < number <= after + request.max_entries
        ]
        return attribution_pb2.ReadReceiptsResponse(
            entries=entries, high_watermark=len(self.documents), log_epoch="one"
        )


@asynccontextmanager
async def attribution_served(servicer: Attribution) -> AsyncIterator[str]:
    server = grpc.aio.server()
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@dataclass
class World:
    """A ledger's configuration, and what surrounds it.  `run` starts it; leaving that stops it, files stay."""

    folder: Path
    rpc_url: str
    attribution: Attribution
    attribution_address: str
    more: dict[str, Any] = field(default_factory=dict)

    def given(self) -> dict[str, Any]:
        """The ledger's settings."""
        given = {
            "rpc_url": self.rpc_url,
            "operator_key_file": self.key_file(),
            "operators": (OPERATOR.address,),
            "treasury": TREASURY.address,
            "guardian": GUARDIAN.address,
            "platform": PLATFORM.address,
            "attribution": self.attribution_address,
            "attribution_signers": (SIGNER.address,),
            "challenge_window_seconds": 1,
            "withdraw_delay_seconds": 0,
            "split_delay_seconds": 1,
            "poll_seconds": 0.05,
            "conservation_seconds": 0,
            "relay_min_deposit": 0,
            "relay_min_claim": 0,
            "relay_gas_per_day": 10**9,
        }
        return settings("ledger", self.folder, **(given | self.more))

    def config(self) -> LedgerConfig:
        return LedgerConfig(**self.given())

    def key_file(self) -> Path:
        path = self.folder / "operator.key"
        if not path.exists():
            path.touch(0o600)
            path.write_text(OPERATOR.private_key)
        return path

    @property
    def rpc(self) -> Rpc:
        return Rpc(self.rpc_url)

    def chain(self) -> RpcChain:
        """The ledger's contracts, seen by somebody else.  The ledger must have run."""
        config = self.config()
        node = Node.connect(self.rpc_url, config.chain_id)
        record = json.loads(config.deployment.read_text())["transactions"]
        at = {key: record[key]["address"] for key in ("token", "distributor", "escrow", "registry", "models")}
        return RpcChain(node, Contracts(node.chain_id, 0, **at))

    def send(self, wallet: Wallet, call: Call) -> Receipt:
        """A transaction of somebody's own; the treasury gives the ether for it."""
        node = self.give_ether(wallet)
        return self._transact(node, wallet, call, node.estimate(wallet.address, call))

    def contract(self, code: bytes) -> str:
        """The address of a new contract with that code, of up to 32 bytes."""
        made = self.send(TREASURY, Call(None, creation(code))).contract
        assert made is not None
        return made

    def give_ether(self, wallet: Wallet) -> Node:
        """What gas costs, from the treasury, if the wallet has none."""
        node = Node.connect(self.rpc_url, 31337)
        if not int(self.rpc.call("eth_getBalance", wallet.address, "latest"), 16):
            self._transact(node, TREASURY, Call(wallet.address, b"", 10**18), 21_000)
        return node

    def _transact(self, node: Node, wallet: Wallet, call: Call, gas: int) -> Receipt:
        account = Account.from_key(wallet.private_key)
        nonce = node.nonce(account.address)
        signed = sign(account, call, chain_id=node.chain_id, nonce=nonce, gas=gas, fees=node.fees())
        mined = node.receipt(node.broadcast(signed.raw))
        assert mined is not None
        assert mined.succeeded
        return mined

    def give_tokens(self, chain: RpcChain, wallet: Wallet, amount: int) -> None:
        self.rpc.transfer(TREASURY, chain.contracts.token, wallet.address, amount)

    def token_balance(self, at: ledger_pb2.SettlementInfo, address: str) -> int:
        return self.rpc.token_balance(at.contracts["OpenToken"], address)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        async with served(await assemble(self.config())) as where:
            yield where


async def info(client: Client) -> ledger_pb2.SettlementInfo:
    return await client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest())


async def permit(world: World, where: str, wallet: Wallet, amount: int) -> ledger_pb2.RelayDepositRequest:
    """A signed deposit request; the wallet gets the tokens for it first."""
    async with as_wallet(wallet, ledger=where) as client:
        at = await info(client)
    token = at.contracts["OpenToken"]
    missing = amount - world.rpc.token_balance(token, wallet.address)
    if missing > 0:
        world.rpc.transfer(TREASURY, token, wallet.address, missing)
    deadline = int(time.time()) + DAY
    nonce = world.rpc.permit_nonce(token, wallet.address)
    spender = at.contracts["InferenceEscrow"]
    typed = spending.permit_message(
        at.chain_id, token, owner=wallet.address, spender=spender, value=amount, nonce=nonce, deadline=deadline
    )
    return ledger_pb2.RelayDepositRequest(
        account=wallet.account,
        amount=str(amount),
        deadline=deadline,
        permit_signature=wallet.sign(typed),
        request_id=request_id(),
    )


async def authorisation(where: str, wallet: Wallet, cap: int, **more: Any) -> ledger_pb2.AuthoriseSpendingRequest:
    async with as_wallet(wallet, ledger=where) as client:
        at = await info(client)
    deadline = more.get("deadline", int(time.time()) + DAY)
    escrow = at.contracts["InferenceEscrow"]
    granted = spending.SpendingAuthorisation(wallet.address, cap, deadline)
    typed = spending.authorisation_message(at.chain_id, escrow, granted)
    return ledger_pb2.AuthoriseSpendingRequest(
        account=wallet.account, cap=str(cap), deadline=deadline, signature=wallet.sign(typed), request_id=request_id()
    )


async def pay_in(world: World, where: str, wallet: Wallet, amount: int, cap: int | None = None) -> ledger_pb2.Balance:
    """A deposit and an authorisation over it."""
    async with as_wallet(wallet, ledger=where) as client:
        deposited = await client.call(client.ledger.RelayDeposit, await permit(world, where, wallet, amount))
        assert deposited.credited
        return await client.call(
            client.ledger.AuthoriseSpending, await authorisation(where, wallet, amount if cap is None else cap)
        )


async def lease(where: str, wallet: Wallet, amount: int, **more: Any) -> ledger_pb2.Lease:
    async with as_service("openlora", ledger=where) as client:
        request = ledger_pb2.AcquireLeaseRequest(
            account=wallet.account, amount=str(amount), request_id=more.get("request_id", request_id())
        )
        return await client.call(client.ledger.AcquireLease, request)


async def balance(where: str, wallet: Wallet) -> ledger_pb2.Balance:
    async with as_wallet(wallet, ledger=where) as client:
        return await client.call(client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=wallet.account))


async def conservation(where: str) -> ledger_pb2.Conservation:
    async with as_service("openlora", ledger=where) as client:
        return await client.call(client.ledger.GetConservation, ledger_pb2.GetConservationRequest())


async def anchor(where: str, snapshot: str, root: bytes = b"r" * 32) -> ledger_pb2.RevisionSnapshot:
    """A snapshot on chain, as revisions name it."""
    request = ledger_pb2.AnchorSnapshotRequest(snapshot=snapshot, root=root, record_count=150, request_id=request_id())
    async with as_service("datanet", ledger=where) as datanet:
        operation = await datanet.call(datanet.ledger.AnchorSnapshot, request)
        await datanet.wait("ledger", operation, ledger_pb2.Anchoring, 20)
    return ledger_pb2.RevisionSnapshot(snapshot=snapshot, root=root.hex())


def registration(*snapshots: ledger_pb2.RevisionSnapshot, **changes: Any) -> ledger_pb2.RegisterRevisionRequest:
    """A request for a revision of which nobody has heard, made from these snapshots by the developer."""
    asked = {
        "revision": f"adapters/letters/revisions/{uuid.uuid4().hex * 2}",
        "index_root": "1" * 64,
        "base_sha256": "2" * 64,
        "snapshots": snapshots,
        "developer": DEVELOPER.account,
        "request_id": request_id(),
    }
    return ledger_pb2.RegisterRevisionRequest(**(asked | changes))


def asked_again(request: ledger_pb2.RegisterRevisionRequest, **changes: Any) -> ledger_pb2.RegisterRevisionRequest:
    """The same under another request id, with changes."""
    asked = {field.name: value for field, value in request.ListFields()}
    return ledger_pb2.RegisterRevisionRequest(**asked | {"request_id": request_id()} | changes)


async def register(client: Client, request: ledger_pb2.RegisterRevisionRequest) -> ledger_pb2.ModelRegistration:
    """The registration, once it is on chain; the client is the factory's."""
    operation = await client.call(client.ledger.RegisterRevision, request)
    return await client.wait("ledger", operation, ledger_pb2.ModelRegistration, 20)


async def booked(where: str, wallet: Wallet, receipts: Sequence[Answer]) -> list[ledger_pb2.Payout]:
    """The payouts of those receipts, once they are there."""
    async with as_wallet(wallet, ledger=where) as client:
        return [
            await client.call(
                client.ledger.GetPayout, ledger_pb2.GetPayoutRequest(response=found.response, wait_seconds=20)
            )
            for found in receipts
        ]


async def close_epoch(where: str, **more: Any) -> ledger_pb2.Epoch:
    """Close it, and wait until its root pays."""
    async with as_wallet(OPERATOR, ledger=where) as client:
        request = ledger_pb2.CloseEpochRequest(request_id=more.get("request_id", request_id()))
        operation = await client.call(client.ledger.CloseEpoch, request)
        return await client.wait("ledger", operation, ledger_pb2.Epoch, 60)


async def claim(where: str, earner: Wallet, **more: Any) -> ledger_pb2.Claim:
    """A claim that the operator asks for, or somebody else."""
    async with as_wallet(more.get("by", OPERATOR), ledger=where) as client:
        request = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=more.get("request_id", request_id()))
        return await client.call(client.ledger.RelayClaim, request)


async def until(where: str, wallet: Wallet, so: Callable[[ledger_pb2.Balance], bool]) -> None:
    """Until the wallet's balance is so."""
    deadline = time.monotonic() + 20
    while not so(found := await balance(where, wallet)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def eventually(so: Callable[[], bool]) -> None:
    """Until it is so."""
    deadline = time.monotonic() + 20
    while not await asyncio.to_thread(so):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def refused(client: Client, method: Any, request: Any) -> ApiError:
    """The refusal that the call must meet."""
    with pytest.raises(ApiError) as caught:
        await client.call(method, request)
    return caught.value
