"""The books under random stories: whatever happens in whatever order, they balance and nobody owes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import create_engine, select
from sqlalchemy.pool import StaticPool

from services.kit.errors import Fault
from services.ledger import journal, settle, spend
from services.ledger.admit import Admitted
from services.ledger.book import BOOKED, CONFLICT, REPEATED, book
from services.ledger.journal import Journal, Kind, Unbalanced
from services.ledger.lease import Times
from services.ledger.store import books, epochs, payers
from services.ledger.store.tables import LEASE, METADATA, POSTING
from tests.books_world import DEVELOPER, EARNERS, PLATFORM, event, receipt_of

ACCOUNTS = tuple("0x" + digit * 40 for digit in "12")
TIMES = Times(lease=100, grace=20, redeem=50)
SCALES = (1, 7, 10**20)  # small, so that amounts meet; large, so that they do not fit 64 bits


def test_postings_that_do_not_sum_to_zero_are_no_journal():
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -2})
    with pytest.raises(Unbalanced):
        Journal(Kind.DEPOSIT, "k", "p", "c", {"a": 1, "b": -1, "c": 0})


def test_the_base_models_developer_share_is_held_with_the_base_models():
    found = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, developer=""))
    with_developer = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1))
    share = with_developer.postings[journal.payable(DEVELOPER)]
    assert found.postings["held:base"] == with_developer.postings["held:base"] + share
    assert sum(found.postings.values()) == 0


def test_shares_of_one_address_in_several_parts_become_one_line():
    found = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1, developer=PLATFORM))
    plain = journal.inference(receipt_of(ACCOUNTS[0], "leases/1", 1000, 1))
    both = plain.postings[journal.payable(PLATFORM)] + plain.postings[journal.payable(DEVELOPER)]
    assert found.postings[journal.payable(PLATFORM)] == both


def test_what_left_escrow_beyond_what_was_unspent_stands_as_a_shortfall():
    found = journal.withdrawal(event(1), ACCOUNTS[0], 100, unspent=30)
    assert found.postings == {journal.payer(ACCOUNTS[0]): -30, journal.SHORTFALL: -70, journal.ESCROW: 100}


class Stories(RuleBasedStateMachine):
    """Deposits, authorisations, leases, receipts, claims, withdrawals and epochs, in any order, on a real database."""

    @initialize(scale=st.sampled_from(SCALES))
    def begin(self, scale):
        self.scale = scale
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        METADATA.create_all(self.engine)
        self.now, self.events, self.receipts = 1_000_000, 0, []
        self.booked, self.sealed = {}, {}
        self.deposited = dict.fromkeys(ACCOUNTS, 0)

    def teardown(self):
        if hasattr(self, "engine"):
            self.engine.dispose()

    def write(self, act):
        with self.engine.begin() as connection:
            books.lock(connection)
            return act(connection)

    def unless(self, reason, act):
        """Done, or refused for that reason and no other."""
        try:
            self.write(act)
        except Fault as fault:
            if fault.reason != reason:
                raise

    def read(self, query):
        with self.engine.connect() as connection:
            return query(connection)

    def next_event(self):
        self.events += 1
        return event(self.events)

    @rule(who=st.sampled_from(ACCOUNTS), tens=st.integers(1, 10))
    def deposit(self, who, tens):
        amount = 10 * tens * self.scale
        self.write(lambda c: books.post(c, journal.deposit(self.next_event(), who, amount)))
        self.deposited[who] += amount

    @rule(who=st.sampled_from(ACCOUNTS), more=st.integers(0, 100), lasts=st.sampled_from((10, 10_000, 10_000)))
    def authorise(self, who, more, lasts):
        cap = self.read(lambda c: payers.get(c, who)).spent + more * self.scale
        self.unless("CAP_TOO_LOW", lambda c: spend.authorise(c, who, cap, self.now + lasts, b"s", self.now))

    @rule(who=st.sampled_from(ACCOUNTS), units=st.integers(1, 60))
    def lease(self, who, units):
        amount = units * self.scale
        self.unless("INSUFFICIENT_BALANCE", lambda c: spend.acquire(c, who, amount, TIMES, self.now))

    @rule(who=st.sampled_from(ACCOUNTS), units=st.sampled_from((30, 60, 100)))
    def begin_to_ask(self, who, units):
        """What every payer does first: without it most stories end at the door."""
        self.deposit(who, 10)
        self.authorise(who, 100, 10_000)
        self.lease(who, units)

    def leases(self):
        return self.read(lambda c: c.execute(select(LEASE)).all())

    @precondition(lambda self: self.leases())
    @rule(data=st.data(), part=st.sampled_from((0, 7, 30, 60, 100, 110)))
    def receive(self, data, part):
        lease = data.draw(st.sampled_from(self.leases()))
        found = receipt_of(lease.payer, lease.name, lease.amount * part // 100, len(self.receipts))
        self.receipts.append(found)
        outcome = self.write(lambda c: book(c, Admitted(found, found.digest(), found.dumps()), self.now))
        if outcome == BOOKED:
            self.booked[found.response] = found

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def receive_again(self, data):
        found = self.booked[data.draw(st.sampled_from(sorted(self.booked)))]
        outcome = self.write(lambda c: book(c, Admitted(found, found.digest(), found.dumps()), self.now))
        assert outcome == REPEATED
        other = replace(found, trace_sha256="f" * 64)
        outcome = self.write(lambda c: book(c, Admitted(other, other.digest(), other.dumps()), self.now))
        assert outcome in (CONFLICT, REPEATED)

    @precondition(lambda self: self.leases())
    @rule(data=st.data(), part=st.sampled_from((0, 30, 100)))
    def release(self, data, part):
        lease = data.draw(st.sampled_from(self.leases()))
        self.write(lambda c: spend.release(c, lease.name, lease.amount * part // 100))

    @rule(who=st.sampled_from((*EARNERS, DEVELOPER, PLATFORM)))
    def claim(self, who):
        owed = self.read(lambda c: books.book(c, journal.payable(who)).balance)
        if owed:
            self.write(lambda c: books.post(c, journal.claim(self.next_event(), who, owed)))

    @rule(seconds=st.sampled_from((1, 50, 150)))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def seal(self):
        earned, receipts = self.read(lambda c: (books.earned(c, journal.PAYABLE), epochs.open_receipts(c)))
        try:
            sealed = settle.seal(1, "0x" + "9" * 40, earned, self.sealed, receipts)
        except settle.NothingToSettle:
            return
        assert sealed.total == self.read(lambda c: journal.conservation(books.every_posting(c))).paid
        self.sealed = sealed.leaves

    @invariant()
    def the_books_balance(self):
        if not hasattr(self, "engine"):
            return
        sums = self.read(lambda c: journal.conservation(books.every_posting(c)))
        assert (sums.difference, sums.trial_balance) == (0, 0)
        assert sums.fees == sum(found.fee for found in self.booked.values())

    @invariant()
    def balances_are_what_the_postings_say(self):
        if not hasattr(self, "engine"):
            return
        computed = {}
        for row in self.read(lambda c: c.execute(select(POSTING.c.book, POSTING.c.amount)).all()):
            computed[row.book] = computed.get(row.book, 0) + row.amount
        kept = self.read(lambda c: books.sums(c, list(computed)))
        assert {name: found.balance for name, found in kept.items()} == computed

    @invariant()
    def nobody_spends_or_promises_more_than_there_is(self):
        if not hasattr(self, "engine"):
            return
        for who in ACCOUNTS:
            payer = self.read(lambda c, w=who: payers.get(c, w))
            reserved = sum(
                lease.reserved(self.now) for lease in self.read(lambda c, w=who: payers.open_leases(c, w, self.now))
            )
            assert payer.balance == self.deposited[who] - payer.spent >= reserved >= 0
            assert payer.spent + reserved <= payer.cap
        assert all(lease.charged <= lease.amount for lease in self.leases())


TestStories = Stories.TestCase
TestStories.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
