from __future__ import annotations

import asyncio

import pytest
from eth_account import Account

from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import calls, gas_bounds
from services.ledger.calls import ClaimLeaf
from services.ledger.chain import Call, CallReverted, ChainUnavailable, WrongChain
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.signer import SignerRefused, SignerUnavailable
from services.ledger.signing import Patience, signed_terms
from services.ledger.store import chain as store
from services.ledger.store.chain import State
from services.ledger.store.sender import LostPen, take_nonce
from services.ledger.store.tables import METADATA
from tests.fake_chain import AT, FakeChain

ACCOUNT = Account.from_key(b"\x01" * 32)
CALL = Call(AT.token, b"data")


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def chain():
    return FakeChain()


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


@pytest.fixture
def writer(database, chain):
    return writer_on(database, chain)


def stored(database, key="k"):
    return database.read_now(lambda c: store.get(c, key))


async def test_a_transaction_goes_its_way_and_is_waited_for(writer, database):
    running = asyncio.create_task(writer.run())
    await writer.plan("k", CALL)
    ended = await writer.wait("k", 5)
    running.cancel()
    assert (ended.state, ended.nonce, ended.block) == (State.FINAL, 0, 1)
    assert ended == stored(database)


async def test_planned_twice_is_sent_once(writer, database, chain):
    await writer.plan("k", CALL)
    await writer.step()
    assert (await writer.plan("k", CALL, again=True)).state is State.FINAL
    await writer.step()
    assert len(chain.sent) == 1


async def test_the_bytes_are_on_disk_before_the_chain_sees_them(writer, database, chain):
    seen = []
    chain.after_broadcast = lambda: seen.append(stored(database).raw)
    await writer.plan("k", CALL)
    await writer.step()
    assert seen == chain.sent


async def test_after_a_lost_answer_the_same_bytes_are_sent_again(writer, database, chain):
    def lose() -> None:
        raise ChainUnavailable("the answer was lost")

    chain.holding, chain.after_broadcast = True, lose
    await writer.plan("k", CALL)
    with pytest.raises(ChainUnavailable):
        await writer.step()
    chain.after_broadcast = lambda: None
    again = writer_on(database, chain)
    await again.step()
    assert len(chain.sent) == 2
    assert len(set(chain.sent)) == 1
    chain.mine(chain.waiting[0])
    await again.step()
    assert stored(database).state is State.FINAL


async def test_mined_but_not_noted_is_found_and_not_sent_again(writer, database, chain):
    def die() -> None:
        raise ChainUnavailable("gone after the block")

    chain.after_broadcast = die
    await writer.plan("k", CALL)
    with pytest.raises(ChainUnavailable):
        await writer.step()
    await writer_on(database, chain).step()
    assert (stored(database).state, len(chain.sent)) == (State.FINAL, 1)


async def test_what_would_fail_is_not_sent_and_says_why(writer, database, chain):
    chain.reverting = True
    await writer.plan("k", CALL)
    await writer.step()
    assert (stored(database).state, stored(database).error, chain.sent) == (State.FAILED, "Nope()", [])
    chain.reverting = False
    await writer.plan("k", CALL)
    await writer.step()
    assert stored(database).state is State.FAILED
    await writer.plan("k", CALL, again=True)
    await writer.step()
    assert (stored(database).state, stored(database).nonce) == (State.FINAL, 0)


async def test_what_fails_in_its_block_has_failed(writer, database, chain):
    chain.failing = True
    await writer.plan("k", CALL)
    await writer.step()
    assert stored(database).state is State.FAILED
    assert "reverted" in stored(database).error


async def test_final_waits_for_confirmations_and_an_undone_block_is_sent_again(database, chain):
    writer = writer_on(database, chain, confirmations=2)
    await writer.plan("k", CALL)
    await writer.step()
    assert stored(database).state is State.MINED
    chain.undo()
    await writer.step()  # sent again, into a block of the same number
    await writer.step()
    assert stored(database).state is State.SIGNED
    await writer.step()
    assert stored(database).state is State.MINED
    assert len(set(chain.sent)) == 1
    chain.mine()
    await writer.step()
    assert stored(database).state is State.MINED
    chain.mine()
    await writer.step()
    assert stored(database).state is State.FINAL


async def test_nonces_go_up_by_one_and_one_that_was_taken_is_replaced(writer, database, chain):
    for key in ("a", "b"):
        await writer.plan(key, CALL)
    await writer.step()
    assert [stored(database, key).nonce for key in ("a", "b")] == [0, 1]
    chain.holding = True
    await writer.plan("c", CALL)
    await writer.step()
    chain.holding = False
    chain.foreign = 1  # somebody else's transaction with the nonce 2
    await writer.step()
    await writer.step()
    assert (stored(database, "c").state, stored(database, "c").nonce) == (State.FINAL, 3)


async def test_a_node_that_refuses_keeps_the_others_going(writer, database, chain):
    chain.refusing = True
    await writer.plan("k", CALL)
    await writer.step()
    assert stored(database).state is State.SIGNED
    chain.refusing = False
    await writer.step()
    assert stored(database).state is State.FINAL


async def test_the_older_of_two_senders_finds_out_before_it_signs(writer, database, chain):
    newer = writer_on(database, chain)
    await writer.plan("k", CALL)
    with pytest.raises(LostPen):
        await writer.step()
    assert chain.sent == []
    await newer.step()
    assert stored(database).state is State.FINAL


async def test_while_the_chain_is_away_nothing_is_lost(writer, database, chain):
    chain.deaf = True
    running = asyncio.create_task(writer.run())
    await writer.plan("k", CALL)
    assert await writer.wait("k", 0.2) is None
    chain.deaf = False
    assert (await writer.wait("k", 5)).state is State.FINAL
    running.cancel()


# --- reorganisations


async def test_what_ended_in_a_block_that_went_is_sent_again_and_keeps_its_nonce(writer, database, chain):
    for key in ("a", "b", "c"):
        await writer.plan(key, CALL)
    await writer.step()
    assert {stored(database, key).state for key in "abc"} == {State.FINAL}
    chain.undo(2)
    chain.mine()
    await writer.step()
    assert [stored(database, key).state for key in "abc"] == [State.FINAL] * 3
    assert [stored(database, key).nonce for key in "abc"] == [0, 1, 2]
    assert len(set(chain.sent)) == 3
    assert chain.nonce("") == 3


async def test_a_chain_that_is_shorter_for_a_while_says_nothing(database, chain):
    writer = writer_on(database, chain, confirmations=1)
    await writer.plan("k", CALL)
    await writer.step()
    chain.mine()
    await writer.step()
    assert stored(database).state is State.FINAL
    ahead, chain.blocks = chain.blocks, chain.blocks[:1]
    await writer.step()
    assert stored(database).state is State.FINAL
    chain.blocks = ahead
    await writer.step()
    assert (stored(database).state, len(chain.sent)) == (State.FINAL, 1)


async def test_what_failed_and_was_tried_anew_leaves_no_gap_when_its_block_goes(writer, database, chain):
    chain.failing = True
    await writer.plan("k", CALL)
    await writer.step()
    chain.failing = False
    await writer.plan("k", CALL, again=True)
    await writer.step()
    assert (stored(database).state, stored(database).nonce) == (State.FINAL, 1)
    chain.undo(2)
    for _ in range(2):
        chain.mine()
    for _ in range(3):
        await writer.step()
    assert stored(database).state is State.FINAL
    assert chain.nonce("") == 2


# --- nodes that are behind, or another chain's


async def test_a_node_that_forgot_our_transaction_does_not_make_us_send_another(database, chain):
    """Behind a load balancer: one node knows that the nonce is used, the next does not have the transaction yet."""
    writer = writer_on(database, chain, patience=60)
    chain.forgetful = True
    await writer.plan("k", CALL)
    for _ in range(4):
        await writer.step()
    assert stored(database).state is State.SIGNED
    chain.forgetful = False
    await writer.step()
    assert (stored(database).state, len(set(chain.sent))) == (State.FINAL, 1)


async def test_a_mined_transaction_that_a_node_does_not_know_stays_mined(database, chain):
    writer = writer_on(database, chain, confirmations=3)
    await writer.plan("k", CALL)
    await writer.step()
    chain.forgetful = True
    await writer.step()
    assert stored(database).state is State.MINED


async def test_a_receipt_of_a_block_that_is_not_there_is_not_believed(writer, database, chain):
    chain.after_broadcast = lambda: chain.blocks.__setitem__(-1, chain.blocks[0])
    await writer.plan("k", CALL)
    await writer.step()
    assert stored(database).state is State.SIGNED


async def test_another_chains_node_neither_signs_nor_undoes(writer, database, chain):
    await writer.plan("a", CALL)
    await writer.step()
    chain.another = True
    with pytest.raises(WrongChain):
        await writer.step()
    assert stored(database, "a").state is State.FINAL
    await writer.plan("b", CALL)
    with pytest.raises(WrongChain):
        await writer.step()
    assert stored(database, "b").state is State.PLANNED
    chain.another = False
    await writer.step()
    assert (stored(database, "b").state, stored(database, "b").nonce) == (State.FINAL, 1)


# --- what gas costs


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


# --- how much of it


CLAIM = calls.claim(AT, 1, ClaimLeaf("0x" + "a" * 40, 5, []))


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


# --- two of them


async def test_one_that_was_paused_changes_nothing_when_it_goes_on(database, chain):
    """It read that the transaction is on its way; meanwhile another process saw it through."""
    old = writer_on(database, chain)
    await old.plan("k", CALL)
    chain.holding = True
    await old.step()
    [seen] = database.read_now(store.unfinished)
    chain.holding = False
    newer = writer_on(database, chain)
    await newer.step()
    for late in (old._unmine(seen), old._mined(seen, store.Attempt(seen.hash, seen.raw), chain.mined[seen.hash])):
        with pytest.raises(LostPen):
            await late
    assert stored(database).state is State.FINAL


class Signer:
    """The account's, which can fail, or wait until something else happened."""

    address = ACCOUNT.address

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.meanwhile = lambda: None

    def sign_transaction(self, fields):
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return ACCOUNT.sign_transaction(fields)


async def test_who_does_not_sign_takes_no_nonce_and_is_asked_again(database, chain):
    writer, signer = writer_on(database, chain), Signer()
    writer._signer = signer
    signer.error = SignerUnavailable("the signing service does not answer")
    await writer.plan("k", CALL)
    with pytest.raises(SignerUnavailable):
        await writer.step()
    assert (stored(database).state, chain.sent) == (State.PLANNED, [])
    signer.error = None
    await writer.step()
    assert (stored(database).state, stored(database).nonce) == (State.FINAL, 0)


async def test_a_refusal_to_sign_one_keeps_the_others_on_their_way(database, chain):
    writer, signer = writer_on(database, chain), Signer()
    writer._signer = signer

    def only_the_second() -> None:
        if signer.error is None:
            signer.error = SignerRefused("not allowed by policy")
        else:
            signer.error = None

    signer.meanwhile = only_the_second
    await writer.plan("first", CALL)
    await writer.plan("second", CALL)
    await writer.step()
    assert (stored(database, "first").state, stored(database, "second").state) == (State.PLANNED, State.FINAL)
    assert stored(database, "second").nonce == 0


async def test_what_was_signed_with_a_nonce_that_went_elsewhere_is_never_sent(database, chain):
    writer, signer = writer_on(database, chain), Signer()
    writer._signer = signer
    fence = writer._pen.fence
    signer.meanwhile = lambda: database.write_now(lambda c: take_nonce(c, ACCOUNT.address.lower(), fence, 0))
    await writer.plan("k", CALL)
    await writer.step()
    assert (stored(database).state, chain.sent) == (State.PLANNED, [])
    signer.meanwhile = lambda: None
    await writer.step()
    assert stored(database).nonce == 1
