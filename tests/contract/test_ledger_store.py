"""The ledger's store on both databases."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

import services.ledger
from services.kit.database import Database, one_moment
from services.ledger import journal, spend
from services.ledger.chain import Call
from services.ledger.journal import Event, Journal, Kind, Unbalanced
from services.ledger.lease import Times
from services.ledger.registries import Split
from services.ledger.signing import SignedTransaction
from services.ledger.store import books, challenges, epochs, leaf_pages, payers, registrations, sender, settlements
from services.ledger.store import chain as transactions
from services.ledger.store.books import Payout, Refused
from services.ledger.store.epochs import Anchoring, Epoch, State
from services.ledger.store.payers import Unredeemed
from services.ledger.store.registrations import Registration
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import METADATA
from tests import postgres
from tests.books_world import every_posting
from tests.needs import needs

A, B = "0x" + "a" * 40, "0x" + "b" * 40
BIG = 2**120
CALL = Call("0x" + "7" * 40, b"data")


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield database
    database.close()


def write(database, act):
    def locked(connection):
        books.lock(connection)
        return act(connection)

    return database.write_now(locked)


def deposit(number: int, who: str = A, amount: int = BIG) -> Journal:
    return journal.deposit(Event(f"0x{number:064x}", f"0x{number:064x}", 0), who, amount)


def inference(number: int, fee: int = 10) -> Journal:
    return Journal(
        Kind.INFERENCE, f"inference:responses/{number}", "p", "c", {journal.payer(A): -fee, "payable:b": fee}
    )


def answer(database, number: int, digest: str = "d" * 64) -> None:
    """A booked receipt."""

    def act(c):
        place = books.post(c, inference(number))
        books.keep_receipt(c, place, Payout(f"responses/{number}", digest, A, 10, {B: 10}, frozenset({B}), None))
        with settlements.keeping(c) as keep:
            keep(place, b"document")

    write(database, act)


def test_the_migrated_schema_is_what_the_code_says(database):
    def compared(found, name, kind, *_):
        """Alembic knows no constraint of one database alone (`ddl_if`): foreign keys to journals are SQLite's."""
        alone = ("posting", "receipt", "receipt_document")
        return database.is_sqlite or kind != "foreign_key_constraint" or found.table.name not in alone

    with database._writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": compared})
        assert compare_metadata(context, METADATA) == []


def test_balances_beside_postings_are_exact_at_any_size(database):
    for number in range(3):
        write(database, lambda c, n=number: books.post(c, deposit(n)))
    assert database.read_now(lambda c: books.book(c, journal.payer(A))).balance == 3 * BIG
    sums = database.read_now(lambda c: journal.conservation(every_posting(c)))
    assert sums.trial_balance == 0
    rows = database.read_now(lambda c: books.lines_of(c, [journal.payer(A)], None, 2))
    assert [(r.journal, r.amount) for r in rows] == [(3, BIG), (2, BIG)]
    rest = database.read_now(lambda c: books.lines_of(c, [journal.payer(A)], (2, rows[-1].line), 9))
    assert [r.journal for r in rest] == [1]


def test_a_payer_below_zero_is_undone_as_a_whole(database):
    write(database, lambda c: books.post(c, deposit(1, amount=5)))
    with pytest.raises(Unbalanced):
        write(database, lambda c: books.post(c, inference(1)))
    assert database.read_now(lambda c: books.book(c, journal.payer(A))).balance == 5
    assert write(database, lambda c: books.post(c, deposit(2))) == 2


def test_one_event_one_journal(database):
    write(database, lambda c: books.post(c, deposit(1)))
    with pytest.raises(IntegrityError):
        write(database, lambda c: books.post(c, deposit(1)))
    assert database.read_now(lambda c: books.book(c, journal.payer(A))).balance == BIG


@pytest.mark.parametrize(
    ("withdrawing", "now", "leaves"),
    (
        (0, 1000, False),
        (10, 1000, False),
        (11, 1000, True),
        (0, 1950, False),
        (0, 1951, True),
        (0, 2000, True),
        (0, 2001, False),
        (11, 2001, False),
    ),
)
def test_whose_spending_cannot_wait_for_an_epoch(database, withdrawing, now, leaves):
    """Who asked back more than is unspent, and whose authorisation ends in the next 50 seconds and has not yet."""
    write(database, lambda c: books.post(c, deposit(1, amount=15)))
    write(database, lambda c: books.post(c, inference(1, fee=5)))
    database.write_now(lambda c: spend.authorise(c, A, 100, 2000, b"sig", 0))
    database.write_now(lambda c: (payers.set_spent(c, A, 5), payers.set_withdrawing(c, A, withdrawing)))
    found = database.read_now(lambda c: payers.leaving(c, now, 50))
    assert [line.payer for line in found] == [A] * leaves
    database.write_now(lambda c: payers.set_redeemed(c, A, 5))
    assert database.read_now(lambda c: payers.leaving(c, now, 50)) == []


async def test_journals_of_many_writers_are_numbered_without_gaps(database, database_url):
    other = Database(database_url)

    def act(number):
        def locked(connection):
            books.lock(connection)
            return books.post(connection, deposit(number, amount=1))

        return locked

    numbers = await asyncio.gather(*((database, other)[n % 2].write(act(n)) for n in range(40)))
    other.close()
    assert sorted(numbers) == list(range(1, 41))
    assert database.read_now(lambda c: books.book(c, journal.payer(A))).balance == 40


async def test_leases_of_many_at_once_never_promise_more_than_there_is(database, database_url):
    write(database, lambda c: books.post(c, deposit(1, amount=100)))
    times = Times(100, 10, 10)
    database.write_now(lambda c: spend.authorise(c, A, 100, 2000, b"s", 1000.0))
    other = Database(database_url)

    def take(connection):
        return spend.acquire(connection, A, 30, times, 1000.0)

    results = await asyncio.gather(*((database, other)[n % 2].write(take) for n in range(8)), return_exceptions=True)
    other.close()
    assert sum(not isinstance(r, Exception) for r in results) == 3
    assert sum(lease.held for lease in database.read_now(lambda c: payers.open_leases(c, A, 1000.0))) == 90


def test_what_payers_spent_is_unredeemed_until_the_chain_has_it_all(database):
    def spent(c, amount, redeemed):
        payers.lock(c, A)
        payers.set_spent(c, A, amount)
        payers.set_redeemed(c, A, redeemed)

    database.write_now(lambda c: spend.authorise(c, A, BIG, 2000, b"sig", 0))
    database.write_now(lambda c: spent(c, BIG, 5))
    assert database.read_now(payers.unredeemed) == [Unredeemed(A, BIG, BIG, 2000, b"sig")]
    database.write_now(lambda c: payers.set_redeemed(c, A, BIG))
    assert database.read_now(payers.unredeemed) == []
    assert database.read_now(lambda c: payers.unredeemed_of(c, A)) is None
    database.write_now(lambda c: payers.set_redeemed(c, A, 5))  # the chain took a redemption back
    assert database.read_now(lambda c: payers.unredeemed_of(c, A)).spent == BIG


def test_a_lease_is_kept_as_it_is(database):
    database.write_now(lambda c: spend.authorise(c, A, BIG, 2000, b"s", 0))
    write(database, lambda c: books.post(c, deposit(1)))
    lease = database.write_now(lambda c: spend.acquire(c, A, BIG // 2, Times(100, 10, 10), 0))
    assert database.read_now(lambda c: payers.lease(c, lease.name)) == lease
    changed = replace(lease, charged=lease.amount)
    database.write_now(lambda c: payers.save_lease(c, changed))
    assert database.read_now(lambda c: payers.lease(c, lease.name)) == changed
    assert database.read_now(lambda c: payers.open_leases(c, A, 0)) == []


def an_epoch(number: int = 1, **changes) -> Epoch:
    plain = Epoch(number, 1, State.SEALED, "1" * 64, "2" * 64, 1, 2, BIG, f"operations/epoch-{number}.1")
    return replace(plain, **changes)


def test_an_epoch_takes_the_open_receipts_and_a_veto_gives_them_back(database):
    write(database, lambda c: books.post(c, deposit(1)))
    for number in (1, 2):
        answer(database, number, str(number) * 64)
    assert database.read_now(epochs.open_receipts) == ["1" * 64, "2" * 64]
    stored = write(database, lambda c: epochs.store(c, an_epoch(), {A: BIG, B: 1}))
    assert database.read_now(lambda c: epochs.get(c, 1)) == stored
    answer(database, 3, "3" * 64)
    assert database.read_now(epochs.open_receipts) == ["3" * 64]
    assert database.read_now(lambda c: books.payout(c, "responses/1")).epoch == 1
    assert database.read_now(lambda c: leaf_pages.leaves(c, 1)) == {A: BIG, B: 1}
    assert [database.read_now(lambda c, w=who: leaf_pages.around(c, 1, w).get(w, 0)) for who in (A, B, "0x")] == [
        BIG,
        1,
        0,
    ]

    database.write_now(lambda c: (epochs.advance(c, stored, State.VETOED), epochs.reopen(c, 1)))
    assert len(database.read_now(epochs.open_receipts)) == 3
    again = an_epoch(attempt=2, root="9" * 64)
    write(database, lambda c: epochs.store(c, again, {A: BIG}))
    assert database.read_now(lambda c: epochs.get(c, 1)).key == "1.2"
    assert database.read_now(lambda c: leaf_pages.leaves(c, 1)) == {A: BIG}
    assert database.read_now(epochs.open_receipts) == []


def test_an_epoch_keeps_the_name_of_its_bundle_until_it_is_sealed_again(database):
    write(database, lambda c: epochs.store(c, an_epoch(), {A: 1}))
    assert database.read_now(lambda c: epochs.get(c, 1)).bundle is None
    for digit in "ab":
        database.write_now(lambda c, d=digit: epochs.published(c, 1, d * 64, f'"{d}"'))
        found = database.read_now(lambda c: epochs.get(c, 1))
        assert found.bundle == digit * 64
        assert database.read_now(lambda c, e=found: epochs.published_splits(c, e)) == f'"{digit}"'
    write(database, lambda c: epochs.store(c, an_epoch(attempt=2), {A: 1}))
    found = database.read_now(lambda c: epochs.get(c, 1))
    assert (found.bundle, database.read_now(lambda c: epochs.published_splits(c, found))) == (None, None)


def test_epochs_are_found_by_state_and_page(database):
    for number, state in ((1, State.ACTIVE), (2, State.PROPOSED), (3, State.SEALED)):
        database.write_now(lambda c, n=number, s=state: epochs.store(c, an_epoch(n, state=s), {A: 1}))
    found = database.read_now(
        lambda c: (epochs.newest(c), epochs.newest(c, State.ACTIVE), epochs.oldest(c, State.SEALED, State.PROPOSED))
    )
    assert [epoch.number for epoch in found] == [3, 1, 2]
    assert [e.number for e in database.read_now(lambda c: epochs.page(c, None, 2))] == [3, 2]
    assert [e.number for e in database.read_now(lambda c: epochs.page(c, 2, 2))] == [1]


def test_redemptions_keep_their_batches(database):
    lines = [Unredeemed(who, BIG, BIG, 7, b"s") for who in (A, B)]
    for batch in ("epoch/1.1/000001", "epoch/1.1/000000", "epoch/1.10/000000"):
        database.write_now(lambda c, b=batch: epochs.plan_redemption(c, b, lines))
    first = database.read_now(lambda c: epochs.batches(c, "epoch/1.1/"))
    assert first == ["epoch/1.1/000000", "epoch/1.1/000001"]
    assert database.read_now(lambda c: epochs.redemptions(c, first[0])) == lines
    database.write_now(lambda c: epochs.drop_batch(c, first[0]))
    assert database.read_now(lambda c: epochs.batches(c, "epoch/1.1/")) == first[1:]


def test_a_snapshot_is_anchored_once(database):
    one = Anchoring("datanets/d/snapshots/1", "1" * 64, 3, "operations/x")
    assert database.write_now(lambda c: epochs.new_anchoring(c, one))
    assert not database.write_now(lambda c: epochs.new_anchoring(c, replace(one, root="2" * 64)))
    assert database.read_now(epochs.open_anchorings) == [one]
    database.write_now(lambda c: epochs.end_anchoring(c, one.snapshot))
    assert database.read_now(epochs.open_anchorings) == []
    assert database.read_now(lambda c: epochs.anchoring(c, one.snapshot)) == replace(one, done=True)


def test_a_revision_is_registered_once(database):
    snapshots = (("datanets/b/snapshots/1", "3" * 64), ("datanets/a/snapshots/2", "4" * 64))
    one = Registration("d" * 64, "adapters/a/revisions/d", "1" * 64, "2" * 64, snapshots, A, Split(2000, 1000), "o/x")
    assert database.read_now(lambda c: registrations.get(c, one.digest)) is None
    assert database.write_now(lambda c: registrations.add(c, one))
    other = replace(one, split=Split(0, 0), operation="o/y")
    assert not database.write_now(lambda c: registrations.add(c, other))
    assert database.read_now(registrations.waiting) == [one]
    database.write_now(lambda c: registrations.end(c, one.digest))
    assert database.read_now(registrations.waiting) == []
    assert database.read_now(lambda c: registrations.get(c, one.digest)) == replace(one, done=True)
    database.write_now(lambda c: registrations.drop(c, one.digest))
    assert database.write_now(lambda c: registrations.add(c, other))


def test_a_transaction_is_planned_once_and_again_only_after_it_failed(database):
    plan = transactions.plan
    first = database.write_now(lambda c: plan(c, "k", CALL))
    assert database.write_now(lambda c: plan(c, "k", Call(CALL.to, b"other"))) == first
    assert database.write_now(lambda c: transactions.ended(c, first, error="no"))
    assert not database.write_now(lambda c: transactions.ended(c, first, error=""))  # it has ended: `first` is old
    assert database.write_now(lambda c: plan(c, "k", CALL)).error == "no"
    assert database.write_now(lambda c: plan(c, "k", CALL, again=True)) == first
    second = database.write_now(lambda c: plan(c, "l", CALL))
    assert [t.key for t in database.read_now(transactions.unfinished)] == [first.key, second.key]


def test_nonces_are_taken_by_the_newest_sender_alone(database):
    old = database.write_now(lambda c: sender.take_pen(c, A, "one", 60))
    assert database.read_now(lambda c: sender.next_nonce(c, A, 4)) == 4, "the chain knows better"
    assert [database.write_now(lambda c: sender.take_nonce(c, A, old, 4)) for _ in range(2)] == [True, False]
    new = database.write_now(lambda c: sender.take_pen(c, A, "one", 60))
    for act in (
        lambda c: sender.take_nonce(c, A, old, 0),
        lambda c: sender.check_pen(c, A, old),
        lambda c: sender.keep_pen(c, A, old, 60),
    ):
        with pytest.raises(LostPen):
            database.write_now(act)
    assert database.read_now(lambda c: sender.next_nonce(c, A, 0)) == 5
    assert database.write_now(lambda c: sender.take_nonce(c, A, new, 5))


def test_the_pen_is_lent_for_a_time_and_given_back(database):
    def take(holder, seconds=60.0):
        return database.write_now(lambda c: sender.take_pen(c, A, holder, seconds))

    first = take("one")
    assert take("two") is None
    database.write_now(lambda c: sender.drop_pen(c, A, first + 1))  # not its turn
    assert take("two") is None
    database.write_now(lambda c: sender.drop_pen(c, A, first))
    assert take("two", 0.2) == first + 1
    assert take("one") is None
    time.sleep(0.25)
    database.write_now(lambda c: sender.check_pen(c, A, first + 1))  # over, and nobody took it: no harm
    assert take("one") == first + 2


@needs("postgresql")
def test_the_pen_goes_by_the_databases_clock_and_not_by_a_process(postgres_cluster, monkeypatch):
    with postgres.fresh_database(postgres_cluster) as url:
        database = Database(url)
        database.migrate(Path(services.ledger.__file__).parent / "migrations")
        assert database.write_now(lambda c: sender.take_pen(c, A, "one", 60))
        monkeypatch.setattr(time, "time", lambda: 4e9)  # a process whose clock is years ahead
        assert database.write_now(lambda c: sender.take_pen(c, A, "two", 60)) is None
        database.close()


async def test_transactions_that_are_planned_at_once_are_all_planned(database):
    database.write_now(lambda c: sender.take_pen(c, A, "one", 60))

    def plan(connection, key):
        planned = transactions.plan(connection, key, CALL)
        time.sleep(0.02)  # before the commit: long enough for the others to plan theirs
        return planned

    keys = ["a", "b", "c", "a", "b", "c"]
    planned = await asyncio.gather(*(database.write(lambda c, k=key: plan(c, k)) for key in keys))
    assert [p.key for p in planned] == keys
    assert {p.number for p in planned} == {1, 2, 3}


def test_two_transactions_of_one_nonce_cannot_be(database):
    k, one = (database.write_now(lambda c, k=key: transactions.plan(c, k, CALL)) for key in ("k", "l"))
    database.write_now(lambda c: transactions.signed(c, k, A, SignedTransaction(b"r", "0x1", 3)))
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: transactions.signed(c, one, A, SignedTransaction(b"s", "0x2", 3)))


def test_every_attempt_of_a_nonce_is_kept_until_it_can_never_be_mined(database):
    def now():
        return database.read_now(lambda c: transactions.get(c, "k"))

    def attempts():
        return database.read_now(lambda c: [a.hash for a in transactions.attempts(c, A, 3)])

    database.write_now(lambda c: transactions.plan(c, "k", CALL))
    for name in ("0x1", "0x2"):
        database.write_now(lambda c, n=name: transactions.signed(c, now(), A, SignedTransaction(n.encode(), n, 3)))
    assert attempts() == ["0x2", "0x1"]
    old = transactions.Attempt("0x1", b"0x1")
    database.write_now(lambda c: transactions.mined(c, now(), old, 7, "0xb", ""))
    assert (now().hash, now().raw, now().block) == ("0x1", b"0x1", 7)
    database.write_now(lambda c: transactions.ended(c, now(), error=""))
    assert database.read_now(transactions.newest_ended).key == "k"
    assert database.write_now(lambda c: transactions.unmined(c, now()))
    assert (now().state, now().block, attempts()) == (transactions.State.SIGNED, 0, ["0x2", "0x1"])
    database.write_now(lambda c: transactions.unsigned(c, now()))
    assert (now().state, now().nonce, attempts()) == (transactions.State.PLANNED, None, [])


async def test_a_challenge_is_used_once_however_many_try(database, database_url):
    other = Database(database_url)
    used = await asyncio.gather(
        *((database, other)[n % 2].write(lambda c: challenges.use(c, "n", 100)) for n in range(10))
    )
    other.close()
    assert sum(used) == 1


def test_challenges_that_no_replica_takes_any_more_are_forgotten(database):
    for end in (1, 2, 3):
        database.write_now(lambda c, e=end: challenges.use(c, str(e), e))
    database.write_now(lambda c: challenges.purge(c, 2))
    assert not database.write_now(lambda c: challenges.use(c, "1", 1))
    database.write_now(lambda c: challenges.purge(c, 2 + challenges.CLOCKS))
    assert database.write_now(lambda c: challenges.use(c, "1", 1))
    assert not database.write_now(lambda c: challenges.use(c, "3", 3))


def test_the_place_on_the_chain_moves(database):
    def state():
        return database.read_now(
            lambda c: (transactions.followed(c, A), transactions.read_time(c, A), transactions.take_backs(c, A))
        )

    assert state() == (None, None, 0)
    steps = (
        (lambda c: transactions.note_read_time(c, A, 3), (None, 3, 0)),  # nothing counts yet, and that is all there is
        (lambda c: transactions.follow(c, A, 7, "0x7"), ((7, "0x7"), 3, 0)),
        (lambda c: transactions.note_read_time(c, A, 5), ((7, "0x7"), 5, 0)),
        (lambda c: transactions.follow(c, A, 9, "0x9"), ((9, "0x9"), 5, 0)),
        (lambda c: transactions.took_back(c, A), ((9, "0x9"), None, 1)),
        (lambda c: transactions.note_read_time(c, A, 8), ((9, "0x9"), 8, 1)),
        (lambda c: transactions.forget_place(c, A), (None, 8, 1)),
        (lambda c: transactions.follow(c, A, 2, "0x2"), ((2, "0x2"), 8, 1)),
        (lambda c: transactions.took_back(c, A), ((2, "0x2"), None, 2)),
    )
    for number, (act, then) in enumerate(steps):
        database.write_now(act)
        assert state() == then, number
    database.write_now(lambda c: transactions.took_back(c, B))
    assert database.read_now(lambda c: transactions.take_backs(c, B)) == 1
    assert state() == ((2, "0x2"), None, 2)


async def test_a_read_that_begins_so_sees_one_moment(database):
    database.write_now(lambda c: transactions.follow(c, A, 7, "0x7"))

    def read(connection):
        one_moment(connection)
        before = transactions.read_time(connection, A)
        database.write_now(lambda c: transactions.note_read_time(c, A, 5))
        return before, transactions.read_time(connection, A)

    assert await database.read(read) == (None, None)
    assert database.read_now(lambda c: transactions.read_time(c, A)) == 5


def test_a_refused_receipt_is_found_by_digest_and_by_answer(database):
    name = f"responses/{uuid.uuid4().hex}"
    refused = Refused("d" * 64, name, A, "BAD", "why", b"x")
    assert database.read_now(lambda c: books.rejected(c, ["d" * 64])) == set()
    database.write_now(lambda c: books.reject(c, [refused]))
    assert database.read_now(lambda c: books.rejected(c, ["d" * 64, "e" * 64])) == {"d" * 64}
    assert database.read_now(lambda c: books.rejection(c, name)).reason == "BAD"
    assert database.read_now(lambda c: books.rejection(c, "responses/other")) is None
