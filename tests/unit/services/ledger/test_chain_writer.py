"""A transaction goes its way once, whoever dies, is away or does not sign meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from services.kit.database import Database
from services.ledger.chain import ChainUnavailable
from services.ledger.signer import SignerRefused, SignerUnavailable
from services.ledger.store import chain as store
from services.ledger.store.chain import State
from services.ledger.store.sender import LostPen, take_nonce
from services.ledger.store.tables import METADATA
from tests.fake_chain import FakeChain
from tests.writer_world import ACCOUNT, CALL, stored, writer_on


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
