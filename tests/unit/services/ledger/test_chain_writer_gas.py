"""What is offered for gas, and how much of it a transaction may take."""

from __future__ import annotations

import asyncio

import pytest

from services.kit.database import Database
from services.ledger import calls, gas_bounds
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import CallReverted
from services.ledger.signing import signed_terms
from services.ledger.store.chain import State
from services.ledger.store.tables import METADATA
from tests.fake_chain import AT, FakeChain
from tests.writer_world import CALL, stored, writer_on


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def chain():
    return FakeChain()


CLAIM = calls.claim(AT, 1, ClaimLeaf("0x" + "a" * 40, 5, []))


async def test_what_waits_too_long_offers_more_and_is_mined_once(database, chain):
    writer = writer_on(database, chain)
    await writer.plan("k", CALL)
    chain.holding = True
    await writer.step()
    first, chain.base, chain.holding = stored(database), 20, False
    for _ in range(5):
        chain.mine()
        await writer.step()
    ended = stored(database)
    assert (ended.state, ended.nonce) == (State.FINAL, first.nonce)
    assert ended.hash != first.hash
    assert signed_terms(ended.raw)[1].max_fee >= 20
    assert len(chain.mined) == 1


async def test_an_earlier_offer_that_is_mined_after_all_counts(database, chain):
    writer = writer_on(database, chain)
    await writer.plan("k", CALL)
    chain.holding = True
    await writer.step()
    first = stored(database)
    for _ in range(4):
        chain.mine()
        await writer.step()
    assert stored(database).hash != first.hash
    chain.mine(first.raw)
    await writer.step()
    assert (stored(database).state, stored(database).hash, len(chain.mined)) == (State.FINAL, first.hash, 1)


async def test_a_chain_that_stands_still_is_not_hurried(database, chain):
    writer = writer_on(database, chain)
    await writer.plan("k", CALL)
    chain.holding = True
    for _ in range(4):
        await writer.step()
    assert len(set(chain.sent)) == 1


async def test_no_offer_passes_the_cap_and_it_goes_on_when_gas_is_cheap_again(database, chain):
    writer = writer_on(database, chain, max_fee=10)
    chain.base = 50
    await writer.plan("k", CALL)
    await writer.step()
    assert (stored(database).state, chain.sent) == (State.PLANNED, [])
    await writer.step()
    assert writer._stuck._dear._value.get() == 1
    chain.base = 8
    await writer.step()
    await writer.step()
    assert stored(database).state is State.FINAL
    assert signed_terms(stored(database).raw)[1].max_fee <= 10
    assert writer._stuck._dear._value.get() == 0


async def test_what_was_sent_before_gas_rose_above_the_cap_waits(database, chain):
    writer = writer_on(database, chain, max_fee=10)
    chain.holding = True
    await writer.plan("k", CALL)
    await writer.step()
    chain.holding, chain.base = False, 50
    for _ in range(20):
        chain.mine()
        await writer.step()
    assert stored(database).state is State.SIGNED
    assert all(signed_terms(raw)[1].max_fee <= 10 for raw in chain.sent)
    chain.base = 5
    for _ in range(2):
        await writer.step()
    assert stored(database).state is State.FINAL


async def test_what_takes_more_gas_than_its_kind_is_not_sent(database, chain):
    """The node says so although it was told the most, as one does that is told what to say."""
    writer = writer_on(database, chain)
    chain.takes = gas_bounds.most(CLAIM) + 1
    await writer.plan("k", CLAIM)
    await writer.step()
    assert (stored(database).state, chain.sent) == (State.FAILED, [])
    assert "takes too much gas" in stored(database).error
    chain.takes -= 1
    await writer.plan("k", CLAIM, again=True)
    await writer.step()
    assert (stored(database).state, signed_terms(stored(database).raw)[0]) == (State.FINAL, gas_bounds.most(CLAIM))


async def test_where_gas_pays_for_another_chain_too_more_may_be_taken(database, chain):
    writer = writer_on(database, chain)
    writer._gas_percent = 300
    chain.takes = 3 * gas_bounds.most(CLAIM)
    await writer.plan("k", CLAIM)
    await writer.step()
    assert stored(database).state is State.FINAL


async def test_a_node_is_asked_with_no_more_gas_than_that(database, chain, monkeypatch):
    asked = []
    monkeypatch.setattr(chain, "estimate", lambda sender, call, most=None: asked.append(most) or 1)
    writer = writer_on(database, chain)
    await writer.plan("k", CLAIM)
    await writer.step()
    assert asked == [gas_bounds.most(CLAIM)]


async def test_what_a_node_does_not_estimate_for_a_while_has_failed_and_keeps_nobody(database, chain):
    """Nodes say nothing of a revert where a call runs out of gas."""
    writer = writer_on(database, chain, patience=0.2)
    chain.inestimable = lambda call: call == CLAIM
    await writer.plan("burns", CLAIM)
    await writer.plan("k", CALL)
    await writer.step()
    assert (stored(database, "burns").state, stored(database).state) == (State.PLANNED, State.FINAL)
    await asyncio.sleep(0.2)
    await writer.step()
    failed = stored(database, "burns")
    assert (failed.state, "gas required exceeds allowance" in failed.error) == (State.FAILED, True)


async def test_a_node_that_estimates_nothing_fails_nothing(database, chain):
    writer = writer_on(database, chain)
    chain.inestimable = lambda call: True
    await writer.plan("k", CLAIM)
    for _ in range(3):
        await writer.step()
    assert stored(database).state is State.PLANNED
    chain.inestimable = lambda call: False
    await writer.step()
    assert stored(database).state is State.FINAL


async def test_a_revert_without_a_word_tells_how_much_gas_there_was(database, chain, monkeypatch):
    def reverts(*_):
        raise CallReverted(None, (), "execution reverted")

    monkeypatch.setattr(chain, "estimate", reverts)
    writer = writer_on(database, chain)
    await writer.plan("k", CLAIM)
    await writer.step()
    assert stored(database).error == (
        f"execution reverted, with {gas_bounds.most(CLAIM)} gas, which is the most that it may take"
    )
