"""Random stories about money, told to the real store: what a test of conservation does, step by step.

Beside the store runs an account of what must be, kept in plain sums of what was told: it shares no code with the books
but the postings of journals.  A story ends with every posting added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import Connection, select

from openledger.corrections import Correction
from openledger.receipt import Receipt
from openledger.split import UNATTRIBUTED, Rule
from services.kit.database import bound_pause
from services.kit.errors import Fault
from services.ledger import book, check, correct, journal, leaves, netting, replay, settle, spend
from services.ledger.admit import Admitted, Rejected
from services.ledger.book import BOOKED, CONFLICT, REPEATED, book_all
from services.ledger.journal import Event, Journal
from services.ledger.settle import NothingToSettle
from services.ledger.store import books, epochs, leaf_pages, payers
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.tables import BALANCE
from tests import second_opinion
from tests.books_reservations import TIMES, Reservations
from tests.books_stores import conserved
from tests.books_world import DEVELOPER, EARNERS, MODELS, PLATFORM, data_of, receipt_of

PAYERS = tuple("0x" + digit * 40 for digit in "12")
OWED = (*EARNERS, DEVELOPER, PLATFORM)
SCALES = (1, 7, 10**20)  # small, so that amounts meet; large, so that they do not fit 64 bits
SOME = st.integers(0, 1000)
"""Which of what there is."""


@dataclass
class Told:
    """Something that the chain told, and whether it is part of it now."""

    entry: Journal
    standing: bool = True


class Stories(Reservations):
    """Deposits, authorisations, leases, pages of receipts, corrections, claims, withdrawals, epochs, vetoes, reorgs."""

    store: Callable[[], Any]

    @initialize(scale=st.sampled_from(SCALES), reads=st.sampled_from((True, True, False)))
    def begin(self, scale: int, reads: bool) -> None:
        self.engine = self.store().clear()
        self.scale, self.now, self.told, self.asked = scale, 1_000_000, [], 0
        self.booked: dict[str, Admitted] = {}
        self.open, self.taken = list[Receipt](), list[Receipt]()
        self.held = Counter[str]()
        self.begin_to_read(reads)

    def write(self, act: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            books.lock(connection)
            bound_pause(connection, 60)  # a machine that is busy with other tests may let this one wait for seconds
            return act(connection)

    def read(self, query: Callable[[Connection], Any]) -> Any:
        with self.engine.connect() as connection:
            return query(connection)

    def unless(self, reason: str, act: Callable[[Connection], Any]) -> Any:
        """Done, or refused for that reason and no other."""
        try:
            return self.write(act)
        except Fault as fault:
            if fault.reason != reason:
                raise
            return None

    def happens(self, make: Callable[[Event], Journal]) -> None:
        """On the chain, in a block of its own."""
        number = len(self.told) + 1
        entry = make(Event(f"0x{number:064x}", f"0x{number:064x}", number))
        assert self.write(lambda c: replay.tell(c, entry))
        self.told.append(Told(entry))
        self.held.update(entry.postings)

    @rule(who=st.sampled_from(PAYERS), tens=st.integers(1, 10))
    def deposit(self, who: str, tens: int) -> None:
        self.happens(lambda at: journal.deposit(at, who, 10 * tens * self.scale))

    @rule(who=st.sampled_from(PAYERS), more=st.integers(0, 100), lasts=st.sampled_from((10, 10_000, 10_000)))
    def authorise(self, who: str, more: int, lasts: int) -> None:
        cap = self.read(lambda c: payers.get(c, who)).spent + more * self.scale
        self.unless("CAP_TOO_LOW", lambda c: spend.authorise(c, who, cap, self.now + lasts, b"s", self.now))

    @rule(who=st.sampled_from(PAYERS), units=st.integers(1, 60))
    def lease(self, who: str, units: int) -> None:
        amount = units * self.scale
        found = self.unless("INSUFFICIENT_BALANCE", lambda c: spend.acquire(c, who, amount, TIMES, self.now))
        if found:
            self.leases.append(found.name)

    @rule(who=st.sampled_from(PAYERS), units=st.sampled_from((30, 60, 100)))
    def begin_to_ask(self, who: str, units: int) -> None:
        """What every payer does first: without it most stories end at the door."""
        self.deposit(who, 10)
        self.authorise(who, 100, 10_000)
        self.lease(who, units)

    @precondition(lambda self: self.leases)
    @rule(which=SOME, parts=st.lists(st.sampled_from((0, 7, 30, 60, 100, 110)), min_size=1, max_size=4), again=SOME)
    def receive(self, which: int, parts: list[int], again: int) -> None:
        """A page: new receipts, one of before, one that contradicts it, and one that is no receipt."""
        page: list[Admitted | Rejected] = []
        for place, part in enumerate(parts):
            name = self.leases[(which + place) % len(self.leases)]
            lease = self.read(lambda c, n=name: payers.lease(c, n))
            self.asked += 1
            fee, adapter = lease.amount * part // 100, MODELS[self.asked % len(MODELS)]
            page.append(admitted(receipt_of(lease.payer, lease.name, fee, self.asked, adapter=adapter)))
        if self.booked:
            old = self.booked[sorted(self.booked)[again % len(self.booked)]]
            page += [old, admitted(replace(old.receipt, trace_sha256="f" * 64))]
        page += [page[0], Rejected(f"{again:064x}", "", "", "UNREADABLE", "no", b"?")]
        promised = self.promises(page[0])
        outcomes = self.write(lambda c: book_all(c, page, self.now))
        assert outcomes[0] in (BOOKED, book.OWED) or not promised
        for entry, outcome in zip(page, outcomes, strict=True):
            if outcome in (BOOKED, book.OWED):
                assert isinstance(entry, Admitted)
                assert entry.receipt.response not in self.booked
                self.booked[entry.receipt.response] = entry
                self.open.append(entry.receipt)
                self.held.update(journal.inference(entry.receipt, entry.sha256).postings)
            elif isinstance(entry, Admitted) and entry.receipt.response in self.booked:
                same = self.booked[entry.receipt.response].sha256 == entry.sha256
                assert outcome == REPEATED or (not same and outcome == CONFLICT)

    def promises(self, entry: Admitted | Rejected) -> bool:
        """Whether the receipt's lease reserves what it costs, whatever the chain took back since."""
        assert isinstance(entry, Admitted)
        found, who = entry.receipt, entry.receipt.payer.removeprefix("accounts/")
        lease, payer = self.read(lambda c: (payers.lease(c, found.lease), payers.get(c, who)))
        return bool(found.fee <= lease.reserved(self.until()) and (payer.deadline >= self.now or not found.fee))

    @precondition(lambda self: self.leases)
    @rule(which=SOME, part=st.sampled_from((0, 30, 100)))
    def release(self, which: int, part: int) -> None:
        name = self.leases[which % len(self.leases)]
        amount = self.read(lambda c: payers.lease(c, name)).amount
        self.write(lambda c: spend.release(c, name, amount * part // 100))

    @precondition(lambda self: self.open)
    @rule(which=SOME)
    def take_back(self, which: int) -> None:
        """An operator takes an answer's charge back, twice, before an epoch settles it."""
        found = self.open[which % len(self.open)]
        key, fee = journal.inference_key(found.response), found.fee
        word, document = Correction(1, "0x" + "9" * 40, key, "why", "0x" + "8" * 40), found.response.encode()
        if not fee:
            assert self.unless("NOT_CORRECTABLE", lambda c: correct.correct(c, word, document)) is None
            return
        first = self.write(lambda c: correct.correct(c, word, document))
        assert self.write(lambda c: correct.correct(c, word, document)) == first
        self.open.remove(found)
        self.taken += [found]
        self.held.subtract(journal.inference(found, "").postings)

    @rule(who=st.sampled_from(OWED))
    def claim(self, who: str) -> None:
        """By the newest root that pays: what is in the leaf and was not claimed."""
        paying = self.read(lambda c: epochs.newest(c, State.ACTIVE))
        owed = self.read(lambda c: leaf_pages.around(c, paying.number, who).get(who, 0)) if paying else 0
        left = owed - self.read(lambda c: books.book(c, journal.payable(who))).debits
        if left > 0:
            self.happens(lambda at: journal.claim(at, who, left))

    @rule(who=st.sampled_from(PAYERS), part=st.sampled_from((30, 100, 150)))
    def withdraw(self, who: str, part: int) -> None:
        """The chain pays out what it holds, be it spent here already or not."""
        unspent = max(0, self.read(lambda c: payers.get(c, who)).balance)
        amount = unspent * part // 100
        if amount:
            self.happens(lambda at: journal.withdrawal(at, who, amount, unspent))

    @precondition(lambda self: self.told)
    @rule(which=SOME)
    def orphan(self, which: int) -> None:
        """A reorganisation: the newest events, back to one of them, are no longer part of the chain."""
        for told in reversed(self.told[which % len(self.told) :]):
            assert self.write(lambda c, e=told.entry: replay.take_back(c, e.key)) == told.standing
            if told.standing:
                self.held.subtract(told.entry.postings)
                told.standing = False

    @precondition(lambda self: any(not told.standing for told in self.told))
    @rule(which=SOME)
    def come_back(self, which: int) -> None:
        """The old branch is the longer one again, up to one of them; withdrawals are made anew."""
        for told in self.told[: which % len(self.told) + 1]:
            if told.entry.kind is not journal.Kind.WITHDRAWAL:
                assert self.write(lambda c, e=told.entry: replay.tell(c, e)) is not told.standing
                if not told.standing:
                    self.held.update(told.entry.postings)
                    told.standing = True

    @rule(seconds=st.sampled_from((1, 50, 150)))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(then=st.sampled_from((State.ACTIVE, State.ACTIVE, State.VETOED)), most=st.sampled_from((20, 10**9, 10**9)))
    def close(self, then: State, most: int) -> None:
        """An epoch, whose root may add so much, and what becomes of it on chain; what it settled stays settled."""
        try:
            self.write(lambda c: self._close(c, then, most * self.scale))
        except NothingToSettle:
            return
        for model in MODELS:
            answers = [(data_of(r), r.unsigned()["evidence"]) for r in self.open if r.model.adapter == model]
            amounts = second_opinion.settled(answers, Rule().to_json())
            self.held.update({_book(who): amount for who, amount in amounts.items()})
            self.held.subtract({journal.pool(model): sum(amounts.values())})
        self.open = []

    def _close(self, connection: Connection, then: State, most: int) -> None:
        last, active = epochs.newest(connection), epochs.newest(connection, State.ACTIVE)
        number, attempt = (last.number + 1, 1) if last else (1, 1)
        if last and last.state is State.VETOED:
            number, attempt = last.number, last.attempt + 1
        netting.net(connection, number, attempt)
        before = leaf_pages.leaves(connection, active.number) if active else {}
        receipts = epochs.open_receipts(connection)
        given = leaves.capped(books.earned(connection, journal.PAYABLE), before, most)
        sealed = settle.seal(1, "0x" + "9" * 40, given.promised, before, receipts)
        sums = len(receipts), len(sealed.leaves), sealed.total
        epoch = Epoch(number, attempt, State.SEALED, sealed.root, sealed.log_root, *sums, f"o/{number}.{attempt}")
        epochs.store(connection, epoch, sealed.leaves, given.waiting)
        assert leaves.derived(connection, epoch, most) == given
        assert sealed.total - sum(before.values()) <= most
        epochs.advance(connection, epoch, then)
        if then is State.VETOED:
            epochs.reopen(connection, number)

    @invariant()
    def no_unit_drifts(self) -> None:
        if not hasattr(self, "engine"):
            return
        rows = self.read(lambda c: c.execute(select(BALANCE)).all())
        found = {row.book: row.credits - row.debits for row in rows}
        assert {name: amount for name, amount in found.items() if amount} == {
            name: amount for name, amount in self.held.items() if amount
        }
        assert min((min(row.credits, row.debits) for row in rows), default=0) >= 0

    def teardown(self) -> None:
        """Every posting, added up."""
        if not hasattr(self, "engine"):
            return
        assert self.read(check.check).ok
        sums = self.read(conserved)
        assert (sums.difference, sums.trial_balance) == (0, 0)
        assert sums.fees == sum(e.receipt.fee for e in self.booked.values()) - sum(r.fee for r in self.taken)
        for who in PAYERS:
            self.nobody_spends_what_is_not_there(who)
        self.nobody_claims_what_was_not_earned()

    def nobody_spends_what_is_not_there(self, who: str) -> None:
        payer = self.read(lambda c: payers.get(c, who))
        fees = sum(e.receipt.fee for e in self.booked.values() if e.receipt.payer == f"accounts/{who}")
        assert payer.spent == fees - sum(r.fee for r in self.taken if r.payer == f"accounts/{who}")
        leases, until = self.read(lambda c: payers.open_leases(c, who, self.until())), self.until()
        reserved = sum(lease.reserved(until) for lease in leases)
        assert payer.balance >= reserved or any(self.takes(told, who) for told in self.told)
        assert payer.spent + reserved <= payer.cap
        assert all(lease.charged <= lease.amount for lease in leases)

    def takes(self, told: Told, who: str) -> bool:
        """Whether by it the chain took from the payer what was spent already, or leased."""
        out = told.entry.kind is journal.Kind.WITHDRAWAL
        return journal.payer(who) in told.entry.postings and (out or not told.standing)

    def nobody_claims_what_was_not_earned(self) -> None:
        for who in OWED:
            sums = self.read(lambda c, w=who: books.book(c, journal.payable(w)))
            assert sums.debits <= sums.credits


def _book(who: str) -> str:
    return journal.held(who) if who == UNATTRIBUTED else journal.payable(who)


def admitted(found: Any) -> Admitted:
    document = found.dumps()
    return Admitted(found, found.digest(), document)
