"""The demo's verbs, one a step of the path: contribute, snapshot, publish, pay in, ask, settle, claim.

Each can be run again: what was done is found, not done twice.  They talk to the services as anybody's client would.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from openledger import giving, spending
from openledger.attribution.v1 import attribution_pb2
from openledger.cli.demo.hpo import LICENCE, Corpus, Curator
from openledger.cli.demo.patience import PASSING, repeated
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.cli.rpc import Rpc
from openledger.client import ApiError, Client, Wallet
from openledger.datanet.v1 import datanet_pb2
from openledger.factory.v1 import factory_pb2
from openledger.ledger.v1 import ledger_pb2
from openledger.openlora.v1 import openlora_pb2

DATANET_ID, ADAPTER_ID = "rare-disease-terms", "rare-disease-terms"
DATANET = f"datanets/{DATANET_ID}"
QUESTION = 'What does the clinical term "{term}" mean?'
_DAY = 86_400
_WORTH = 10
"""A deposit is topped up once so great a part of it was spent: nobody relays a few units."""

Tell = Callable[[str], None]


async def open_datanet(client: Client, state: State, corpus: Corpus) -> datanet_pb2.Datanet:
    """The demo's datanet; made by the builder when it is not there."""
    datanet = datanet_pb2.Datanet(
        display_name="Rare-disease terms",
        description="Clinical terms of rare diseases and what they mean, each by the curator who defined it.",
        tags=["medicine", "phenotypes"],
        licence=LICENCE,
        licence_notice=corpus.notice,
        kind=datanet_pb2.KIND_TEXT,
        visibility=datanet_pb2.VISIBILITY_PUBLIC,
        fields=[
            datanet_pb2.Field(id="term", description="The clinical term.", required=True),
            datanet_pb2.Field(id="definition", description="What it means.", required=True),
        ],
    )
    request = datanet_pb2.CreateDatanetRequest(
        datanet=datanet, datanet_id=DATANET_ID, request_id=state.request_id("datanet", once=True)
    )
    made: datanet_pb2.Datanet = await client.call(client.datanet.CreateDatanet, request)
    return made


async def contribute(
    client: Client, state: State, curator: Curator, release: str
) -> datanet_pb2.ContributeRecordsResponse:
    """A curator's definitions, under one declaration signed by the curator's wallet."""
    wallet = client.wallet
    assert wallet is not None
    given = [
        datanet_pb2.RecordInput(fields={"term": d.term, "definition": d.text}, source=f"{release}#{d.id}")
        for d in curator.definitions
    ]
    into = datanet_pb2.Datanet(name=DATANET, licence=LICENCE)
    request_id = state.request_id(f"contribute/{curator.pseudonym}", once=True)
    return await repeated(lambda: giving.sent(client, wallet, into, given, request_id))


async def cut_snapshot(client: Client, state: State) -> datanet_pb2.Snapshot:
    """The datanet's snapshot, once its root is on chain."""
    request = datanet_pb2.CreateSnapshotRequest(parent=DATANET, request_id=state.request_id("snapshot", once=True))
    operation = await client.call(client.datanet.CreateSnapshot, request)
    return await client.wait("datanet", operation, datanet_pb2.Snapshot, 120)


async def publish(client: Client, state: State, tuning: factory_pb2.FineTune) -> factory_pb2.AdapterRevision:
    """The tuned adapter, usable by everyone."""
    request = factory_pb2.PublishAdapterRevisionRequest(
        fine_tune=tuning.name, request_id=state.request_id(f"publish/{tuning.name}", once=True)
    )
    revision: factory_pb2.AdapterRevision = await client.call(client.factory.PublishAdapterRevision, request)
    return revision


async def registered(client: Client, name: str, patience: float = 60) -> factory_pb2.AdapterRevision:
    """A published revision once it is registered on chain; as it is, when that takes too long."""
    deadline, request = time.monotonic() + patience, factory_pb2.GetAdapterRevisionRequest(name=name)
    while True:
        revision: factory_pb2.AdapterRevision = await client.call(client.factory.GetAdapterRevision, request)
        if revision.HasField("registration") or time.monotonic() > deadline:
            return revision
        await asyncio.sleep(0.5)


async def pay_in(client: Client, state: State, installation: Installation, amount: int) -> ledger_pb2.Balance:
    """A deposit of that much on chain by a signed permit, or of what is missing, and a signed limit on its spending."""
    wallet = client.wallet
    assert wallet is not None
    info = await client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest())
    rpc, token, escrow = Rpc(installation.rpc_url), info.contracts["OpenToken"], info.contracts["InferenceEscrow"]
    # Not what can be spent: that is nothing until a limit is signed, and again once the limit has ended.
    short = amount - int((await _balance(client, wallet)).deposited)
    deadline = int(time.time()) + _DAY
    if short > amount // _WORTH:
        missing = short - await asyncio.to_thread(rpc.token_balance, token, wallet.address)
        if missing > 0:
            await asyncio.to_thread(rpc.transfer, installation.wallet("treasury"), token, wallet.address, missing)
        nonce = await asyncio.to_thread(rpc.permit_nonce, token, wallet.address)
        typed = spending.permit_message(
            info.chain_id, token, owner=wallet.address, spender=escrow, value=short, nonce=nonce, deadline=deadline
        )
        # The nonce names the permit: broken off after it was used, the next start signs another one, or none.
        request = ledger_pb2.RelayDepositRequest(
            account=wallet.account,
            amount=str(short),
            deadline=deadline,
            permit_signature=wallet.sign(typed),
            request_id=state.request_id(f"deposit/{nonce}/{deadline}"),
        )
        await client.call(client.ledger.RelayDeposit, request, 120)
    return await _authorise(client, state, wallet, info, deadline)


async def _authorise(
    client: Client, state: State, wallet: Wallet, info: ledger_pb2.SettlementInfo, deadline: int
) -> ledger_pb2.Balance:
    balance = await _balance(client, wallet)
    cap = int(balance.deposited) + int(balance.spent)
    authorisation = spending.SpendingAuthorisation(wallet.address, cap, deadline)
    typed = spending.authorisation_message(info.chain_id, info.contracts["InferenceEscrow"], authorisation)
    request = ledger_pb2.AuthoriseSpendingRequest(
        account=wallet.account,
        cap=str(cap),
        deadline=deadline,
        signature=wallet.sign(typed),
        request_id=state.request_id(f"authorise/{cap}/{deadline}"),
    )
    authorised: ledger_pb2.Balance = await client.call(client.ledger.AuthoriseSpending, request)
    return authorised


async def ask(
    client: Client, state: State, model: str, key: str, prompt: str, see: Callable[[str], None]
) -> tuple[str, str, openlora_pb2.AnswerSummary]:
    """One question, streamed; returns response name, text and account.

    An answer that an earlier run was broken off in is what was generated of it by then; the question is put anew.
    """
    request = openlora_pb2.ChatRequest(
        model=model,
        messages=[openlora_pb2.Message(role="user", content=prompt)],
        sampling=openlora_pb2.Sampling(max_tokens=64),
        publish_trace=True,  # the demo's receipts are for everybody to compute again
    )

    async def once() -> tuple[str, str, openlora_pb2.AnswerSummary]:
        text = ""
        async for chunk in client.stream(client.openlora.Chat, request, 300):
            text += chunk.text
            see(text)
            if chunk.HasField("summary"):
                return chunk.response, text, chunk.summary
        raise RuntimeError(f"no answer to {prompt!r}")

    for attempt in itertools.count():
        request.request_id = state.request_id(f"ask/{key}/{attempt}" if attempt else f"ask/{key}")
        # Away or still busy with the first try: the same request again gives the same answer, charged once.
        answer = await repeated(once)
        if answer[2].finish_reason != openlora_pb2.FINISH_REASON_CANCELLED:
            return answer
    raise AssertionError


async def receipt_of(client: Client, response: str) -> attribution_pb2.Receipt:
    """An answer's receipt, as soon as there is one."""
    name = response.replace("responses/", "receipts/")
    request = attribution_pb2.GetReceiptRequest(name=name, wait_seconds=20)
    receipt: attribution_pb2.Receipt = await _once_there(client, client.attribution.GetReceipt, request)
    return receipt


async def payout_of(client: Client, response: str) -> ledger_pb2.Payout:
    """How the ledger booked an answer, as soon as it did."""
    request = ledger_pb2.GetPayoutRequest(response=response, wait_seconds=20)
    payout: ledger_pb2.Payout = await _once_there(client, client.ledger.GetPayout, request)
    return payout


async def close_epoch(client: Client, state: State) -> ledger_pb2.Epoch:
    """The epoch, closed by the operator, once its root pays."""
    request = ledger_pb2.CloseEpochRequest(request_id=state.request_id("epoch"))
    operation = await client.call(client.ledger.CloseEpoch, request)
    return await client.wait("ledger", operation, ledger_pb2.Epoch, 180)


async def claim_for(client: Client, state: State, accounts: Sequence[str], tell: Tell) -> list[ledger_pb2.Claim]:
    """What those accounts have earned, moved to them on chain by the relayer; nothing for whom nothing was left."""
    claims = []
    for account in accounts:
        request = ledger_pb2.RelayClaimRequest(account=account, request_id=state.request_id(f"claim/{account}"))
        try:
            claims.append(await client.call(client.ledger.RelayClaim, request, 120))
        except ApiError as error:
            if error.reason not in {"NO_CLAIM", "NOTHING_TO_CLAIM", "TOO_SMALL_TO_RELAY"}:
                raise
        tell(account)
    return claims


async def first_epoch(client: Client) -> ledger_pb2.Epoch:
    """The ledger's."""
    found: ledger_pb2.Epoch = await client.call(client.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))
    return found


async def _balance(client: Client, wallet: Wallet) -> ledger_pb2.Balance:
    balance: ledger_pb2.Balance = await client.call(
        client.ledger.GetBalance, ledger_pb2.GetBalanceRequest(account=wallet.account)
    )
    return balance


async def _once_there(client: Client, method: Any, request: Any) -> Any:
    reasons = PASSING | {"RECEIPT_NOT_FOUND", "PAYOUT_NOT_FOUND"}
    return await repeated(lambda: client.call(method, request), reasons)
