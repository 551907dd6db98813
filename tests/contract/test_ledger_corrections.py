"""Taking a charge back: what moves, what is kept, and what is refused, on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

import services.ledger
from openledger import corrections
from openledger.client import Wallet
from openledger.corrections import Correction
from services.kit.database import Database
from services.kit.errors import Fault
from services.ledger import check, correct, journal, netting, spend
from services.ledger.admit import Admitted
from services.ledger.book import book_all
from services.ledger.chain import Call
from services.ledger.lease import Lease
from services.ledger.store import books, payers
from services.ledger.store import chain as sent
from services.ledger.store import corrections as kept
from services.ledger.store.tables import SENDER
from tests.books_world import DEVELOPER, event, receipt_of

PAYER, AT = "0x" + "1" * 40, "0x" + "9" * 40
OPERATOR = Wallet("0x" + "09" * 32)
NOW, FEE = 1_000_000.0, 10**18 + 1


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield database
    database.close()


@pytest.fixture
def answer(database):
    """An answer that was booked, of a payer who has as much again."""
    found = receipt_of(PAYER, "leases/1", FEE, 1)

    def act(c):
        books.lock(c)
        books.post(c, journal.deposit(event(1), PAYER, 2 * FEE))
        spend.authorise(c, PAYER, 2 * FEE, 2_000_000, b"s", NOW)
        payers.new_lease(c, Lease("leases/1", PAYER, 2 * FEE, 2 * FEE, 0, 1_000_100, 1_000_100))
        return book_all(c, [admitted(found)], NOW)

    assert database.write_now(act) == ["BOOKED"]
    return found


def admitted(found) -> Admitted:
    return Admitted(found, found.digest(), found.dumps())


def signed(of: str, reason: str = "a fault of ours") -> tuple[Correction, bytes]:
    document = corrections.sign(1, AT, of, reason, OPERATOR.private_key)
    return corrections.parse(document), document


def taken_back(database, *given):
    return database.write_now(lambda c: correct.correct(c, *given))


def refused(database, *given) -> str:
    with pytest.raises(Fault) as caught:
        taken_back(database, *given)
    return caught.value.reason


def test_the_payer_has_its_fee_again_and_nobody_earned(database, answer):
    key = journal.inference_key(answer.response)
    before = database.read_now(lambda c: books.entry(c, key))
    found = taken_back(database, *signed(key))
    assert (found.journal, found.corrects, found.operator) == (3, 2, OPERATOR.address)
    assert (found.cause, found.reason) == (answer.response, "a fault of ours")
    undone = database.read_now(lambda c: books.entry(c, f"correction:{key}"))
    assert undone.postings == {book: -amount for book, amount in before.postings.items()}
    assert database.read_now(lambda c: books.entry(c, key)) == before  # nothing is edited
    payer = database.read_now(lambda c: payers.get(c, PAYER))
    assert (payer.balance, payer.spent) == (2 * FEE, 0)
    assert database.read_now(lambda c: books.book(c, journal.payable(DEVELOPER))).credits == 0
    assert database.read_now(lambda c: books.payout(c, answer.response)).correction == 3
    lines = database.read_now(lambda c: books.lines_of(c, [journal.payer(PAYER)], None, 9))
    assert [(line.kind, line.amount) for line in lines] == [
        ("correction", FEE),
        ("inference", -FEE),
        ("deposit", 2 * FEE),
    ]
    assert database.read_now(check.check).ok
    assert database.read_now(lambda c: list(kept.documents(c, 2, 3))) == [found.document]


def test_it_happens_once_and_the_answer_is_not_booked_again(database, answer):
    given = signed(journal.inference_key(answer.response))
    first = taken_back(database, *given)
    assert taken_back(database, *given) == first
    assert refused(database, *signed(given[0].journal, "another reason")) == "ALREADY_CORRECTED"
    other = replace(answer, trace_sha256="f" * 64)

    def again(c):
        books.lock(c)
        return book_all(c, [admitted(answer), admitted(other)], NOW)

    assert database.write_now(again) == ["REPEATED", "CONFLICT"]
    assert database.read_now(lambda c: payers.get(c, PAYER)).spent == 0


def test_what_is_no_answers_is_not_taken_back(database, answer):
    assert refused(database, *signed("inference:responses/none")) == "JOURNAL_NOT_FOUND"
    assert refused(database, *signed(f"deposit:{event(1).block_hash}:{event(1).log_index}")) == "NOT_CORRECTABLE"
    given = signed(journal.inference_key(answer.response))
    taken_back(database, *given)
    assert refused(database, *signed(f"correction:{given[0].journal}")) == "NOT_CORRECTABLE"


@pytest.mark.parametrize(("spent", "failed", "stands"), ((FEE, False, True), (FEE, True, False), (0, False, False)))
def test_what_is_on_its_way_to_be_redeemed_stands(database, answer, spent, failed, stands):
    def plan(c):
        c.execute(insert(SENDER).values(address=AT, nonce=0, fence=1, holder="", until=0))
        found = sent.plan(c, f"redeem:alone/{PAYER}/{spent}/x/5", Call(AT, b""))
        if failed:
            sent.ended(c, found, error="reverted")

    database.write_now(plan)
    given = signed(journal.inference_key(answer.response))
    if stands:
        assert refused(database, *given) == "ALREADY_SETTLED"
    else:
        assert taken_back(database, *given)


def test_what_an_epoch_has_settled_or_the_escrow_given_stands(database, answer):
    given = signed(journal.inference_key(answer.response))
    database.write_now(lambda c: payers.set_redeemed(c, PAYER, 1))
    assert refused(database, *given) == "ALREADY_SETTLED"

    def leaving(c):
        payers.set_withdrawing(c, PAYER, 5)

    database.write_now(leaving)
    assert refused(database, *given) == "ALREADY_SETTLED"

    def settled(c):
        books.lock(c)
        payers.set_withdrawing(c, PAYER, 0)
        netting.net(c, 1, 1)

    database.write_now(settled)
    assert refused(database, *given) == "ALREADY_SETTLED"
    assert database.read_now(lambda c: payers.get(c, PAYER)).spent == FEE


def test_two_corrections_of_one_journal_cannot_be(database, answer):
    taken_back(database, *signed(journal.inference_key(answer.response)))
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: kept.keep(c, 9, 2, "o", "r", b"d"))


@pytest.mark.parametrize(
    "change",
    (
        lambda d: d.replace(b"fault", b"feast"),
        lambda d: d.replace(b'"chain_id":"1"', b'"chain_id":1'),
        lambda d: d[:-1],
        lambda d: b"[]",
        lambda d: b"\xff",
        lambda d: d.replace(OPERATOR.address.encode(), PAYER.encode()),
    ),
)
def test_a_document_that_is_no_signed_correction_is_refused(change):
    _, document = signed("inference:responses/1")
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        corrections.parse(change(document))


@pytest.mark.parametrize("reason", ("", "   ", "x" * 501))
def test_a_reason_must_be_given(reason):
    with pytest.raises(ValueError, match="reason"):
        signed("inference:responses/1", reason)
