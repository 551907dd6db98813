"""The ledger over real gRPC, a real chain process and the real contracts: what it does when all is well."""

from __future__ import annotations

import pytest

from openledger import split
from openledger.abi import encode_call
from openledger.claims import leaf_hash, verify
from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.kit.testing import as_wallet
from services.ledger import calls
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import Call
from tests import chains
from tests.books_world import data_of
from tests.ledger_world import (
    DEVELOPER,
    EARNERS,
    GUARDIAN,
    OPEN,
    OPERATOR,
    PLATFORM,
    a_receipt,
    authorisation,
    balance,
    booked,
    claim,
    close_epoch,
    conservation,
    eventually,
    info,
    lease,
    pay_in,
    until,
)

CHALLENGER = Wallet("0x" + "07" * 32)


async def test_from_a_deposit_to_money_in_the_hands_of_those_who_earned_it(world, payer, database_url):
    world.more["database_url"] = database_url
    async with world.run() as where:
        await the_whole_way(world, where, payer)


async def the_whole_way(world, where, payer):
    paid_in = await pay_in(world, where, payer, 10 * OPEN)
    assert (paid_in.deposited, paid_in.authorised, paid_in.spendable) == (str(10 * OPEN),) * 3

    held = await lease(where, payer, OPEN)
    receipts = [a_receipt(payer, held.name, OPEN // 7) for _ in range(3)]
    world.attribution.give(*receipts)
    payouts = await booked(where, payer, receipts)
    assert [dict(p.shares) for p in payouts] == [{k: str(v) for k, v in r.shares.items()} for r in receipts]

    fees = 3 * (OPEN // 7)
    sums = await conservation(where)
    assert (sums.fees, sums.difference, sums.trial_balance) == (str(fees), "0", "0")
    assert int(sums.paid) + int(sums.held) == fees
    data = sum(data_of(found) for found in receipts)
    assert int(sums.pooled) == data > 0
    assert {(await balance(where, earner)).earned for earner in EARNERS} == {"0"}

    epoch = await close_epoch(where)
    settled = split.settle([split.Answer(data_of(found), found.evidence) for found in receipts], Rule())
    assert epoch.state == ledger_pb2.EPOCH_STATE_ACTIVE
    assert (epoch.receipt_count, int(epoch.total)) == (3, int(sums.paid) + data - settled[split.UNATTRIBUTED])
    assert {who.address: int((await balance(where, who)).earned) for who in EARNERS} == {
        who: amount for who, amount in settled.items() if who != split.UNATTRIBUTED
    }
    async with as_wallet(EARNERS[-1], ledger=where) as client:
        request = ledger_pb2.ListPostingsRequest(account=EARNERS[-1].account)
        [line] = (await client.call(client.ledger.ListPostings, request)).postings
    assert (line.kind, line.cause) == ("settlement", receipts[0].model.adapter)
    assert int(line.amount) == settled[EARNERS[-1].address]
    await check_claims(world, where, epoch)
    after = await conservation(where)
    assert (after.fees, after.paid, after.pooled) == (sums.fees, epoch.total, "0")
    assert (after.difference, after.trial_balance) == ("0", "0")


async def check_claims(world, where, epoch):
    earners = (*EARNERS, DEVELOPER, PLATFORM)
    async with as_wallet(Wallet.create(), ledger=where) as anyone, as_wallet(OPERATOR, ledger=where) as operator:
        at = await info(anyone)
        distributor = at.contracts["RewardsDistributor"]
        paid = 0
        for earner in earners:
            claim = await anyone.call(anyone.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=earner.account))
            leaf = leaf_hash(at.chain_id, distributor, earner.address, int(claim.cumulative))
            assert verify(bytes.fromhex(epoch.root[2:]), leaf, list(claim.proof))
            before = world.token_balance(at, earner.address)
            request = ledger_pb2.RelayClaimRequest(account=earner.account, request_id=request_id())
            done = await operator.call(operator.ledger.RelayClaim, request)
            assert done.transaction
            assert world.token_balance(at, earner.address) - before == int(claim.cumulative) == int(done.amount)
            has = await balance(where, earner)
            assert (has.earned, has.settled, has.claimed) == (claim.cumulative,) * 3
            paid += int(claim.cumulative)
        assert paid == int(epoch.total)


async def test_each_epoch_pays_what_was_earned_since_the_one_before(world, where, payer):
    await pay_in(world, where, payer, 10 * OPEN)
    held = await lease(where, payer, OPEN)
    totals = []
    for number in (1, 2):
        receipts = [a_receipt(payer, held.name, OPEN // 10)]
        world.attribution.give(*receipts)
        await booked(where, payer, receipts)
        epoch = await close_epoch(where)
        assert (epoch.name, epoch.receipt_count) == (f"epochs/{number}", 1)
        totals.append(int(epoch.total))
        [payout] = await booked(where, payer, receipts)
        assert payout.epoch == epoch.name
        await claim(where, EARNERS[0])
    assert totals[1] == 2 * totals[0]
    async with as_wallet(payer, ledger=where) as client:
        at = await info(client)
        page = await client.call(client.ledger.ListEpochs, ledger_pb2.ListEpochsRequest(page_size=1))
        assert [e.name for e in page.epochs] == ["epochs/2"]
        rest = ledger_pb2.ListEpochsRequest(page_token=page.next_page_token)
        assert [e.name for e in (await client.call(client.ledger.ListEpochs, rest)).epochs] == ["epochs/1"]
    share = int((await balance(where, EARNERS[0])).earned)
    assert world.token_balance(at, EARNERS[0].address) >= share > 0
    assert (await balance(where, EARNERS[0])).claimed == str(share)


async def test_what_happens_on_chain_without_the_ledger_is_journaled_too(world, where, payer):
    """A deposit and a claim that somebody sends directly."""
    chain = world.chain()
    world.give_tokens(chain, payer, OPEN)
    world.send(payer, calls.approve(chain.contracts, chain.contracts.escrow, OPEN))
    world.send(payer, calls.deposit_for(chain.contracts, payer.address, OPEN))
    await until(where, payer, lambda b: b.deposited == str(OPEN))

    async with as_wallet(payer, ledger=where) as client:
        await client.call(client.ledger.AuthoriseSpending, await authorisation(where, payer, OPEN))
        held = await lease(where, payer, OPEN)
        world.attribution.give(receipt := a_receipt(payer, held.name, OPEN // 3))
        await booked(where, payer, [receipt])
        await close_epoch(where)
        earner = EARNERS[1]
        found = await client.call(client.ledger.GetClaim, ledger_pb2.GetClaimRequest(account=earner.account))
    leaf = ClaimLeaf(earner.address, int(found.cumulative), list(found.proof))
    world.send(payer, calls.claim(chain.contracts, 1, leaf))
    await until(where, earner, lambda b: b.claimed == found.cumulative)
    with pytest.raises(ApiError, match="NOTHING_TO_CLAIM"):
        await claim(where, earner)


async def test_who_takes_money_back_pays_for_what_was_spent_first(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    held = await lease(where, payer, OPEN // 2)
    world.attribution.give(receipt := a_receipt(payer, held.name, OPEN // 5))
    await booked(where, payer, [receipt])
    chain = world.chain()
    world.send(payer, Call(chain.contracts.escrow, encode_call("InferenceEscrow", "initiateWithdraw", OPEN)))
    await until(where, payer, lambda b: b.spendable == "0")
    # The escrow has what was spent before the money can leave.
    await eventually(lambda: chain.spent(payer.address) == OPEN // 5)
    world.send(payer, Call(chain.contracts.escrow, encode_call("InferenceEscrow", "finalizeWithdraw")))
    await until(where, payer, lambda b: b.deposited == "0")
    assert chain.token_balance(payer.address) == OPEN - OPEN // 5
    sums = await conservation(where)
    assert (sums.fees, sums.difference, sums.trial_balance) == (str(OPEN // 5), "0", "0")


def veto(world, chain) -> None:
    world.send(GUARDIAN, calls.veto(chain.contracts, 1, "a test"))


def challenge(world, chain) -> None:
    """A stranger's challenge, which the guardian, who is the arbiter too, finds right when the window is long over."""
    at = chain.contracts
    root = chain.epoch(1).root
    world.give_tokens(chain, CHALLENGER, OPEN)
    world.send(CHALLENGER, calls.approve(at, at.distributor, OPEN))
    world.send(CHALLENGER, calls.challenge(at, 1, root, "a test"))
    chains.rpc(world.rpc_url, "evm_increaseTime", 31)
    assert chain.active_epoch() == 0
    world.send(GUARDIAN, calls.resolve(at, 1, root, valid=False))
    world.send(CHALLENGER, calls.take_bond(at, CHALLENGER.address))


@pytest.mark.parametrize("struck", (veto, challenge))
async def test_an_epoch_whose_root_is_struck_is_sealed_again_under_its_number(world, payer, struck):
    world.more |= {"challenge_window_seconds": 30, "challenge_bond": OPEN}
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        world.attribution.give(receipt := a_receipt(payer, held.name, OPEN // 5))
        await booked(where, payer, [receipt])
        async with as_wallet(OPERATOR, ledger=where) as operator:
            request = ledger_pb2.CloseEpochRequest(request_id=request_id())
            operation = await operator.call(operator.ledger.CloseEpoch, request)
            chain = world.chain()
            await eventually(lambda: chain.last_epoch() == 1)
            again = ledger_pb2.CloseEpochRequest(request_id=request_id())
            with pytest.raises(ApiError, match="EPOCH_IN_PROGRESS"):
                await operator.call(operator.ledger.CloseEpoch, again)
            struck(world, chain)
            with pytest.raises(ApiError, match="EPOCH_VETOED"):
                await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
            epoch = await operator.call(operator.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))
            assert epoch.state == ledger_pb2.EPOCH_STATE_VETOED
            operation = await operator.call(operator.ledger.CloseEpoch, again)
            chains.rpc(world.rpc_url, "evm_increaseTime", 31)
            await eventually(lambda: chain.last_epoch() == 1)
            chains.rpc(world.rpc_url, "evm_increaseTime", 31)
            closed = await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        assert (closed.name, closed.state, closed.receipt_count) == ("epochs/1", ledger_pb2.EPOCH_STATE_ACTIVE, 1)
        await claim(where, EARNERS[0])
