"""What ended in a block that the chain left goes its way again."""

from __future__ import annotations

import pytest

from services.kit.database import Database
from services.ledger.chain import WrongChain
from services.ledger.store.chain import State
from services.ledger.store.tables import METADATA
from tests.fake_chain import FakeChain
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


@pytest.fixture
def writer(database, chain):
    return writer_on(database, chain)


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
