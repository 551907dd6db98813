"""Taking a wrong charge back: a journal undoes it, by an operator's signed word.  Runs in the caller's transaction.

Only an answer's journal can be taken back, and only before an epoch settles it: what a root has promised is never taken
away, and what the chain told is the chain's to take back.  The payer has its fee again, and nobody earns by the answer;
its receipt stands, and cannot be booked again.  Nothing is edited.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from openledger import corrections as corrections_of
from openledger.canonical import sha256
from openledger.corrections import Correction
from services.kit.errors import Fault, denied, invalid, not_found, precondition
from services.ledger import journal, redeem
from services.ledger.chain import Chain
from services.ledger.journal import Journal, Kind
from services.ledger.store import books, corrections, payers, settlements
from services.ledger.store.corrections import Taken


def read(document: bytes, chain: Chain, operators: Collection[str]) -> Correction:
    """What an operator signed, of this ledger.  Raises `Fault`."""
    try:
        found = corrections_of.parse(document)
    except ValueError as error:
        raise invalid("BAD_CORRECTION", f"document: {error}", "document") from None
    if found.signer not in operators:
        raise denied("NOT_AN_OPERATOR", f"{found.signer} signed, who is no operator (OPENLEDGER_LEDGER_OPERATORS)")
    if (found.chain_id, found.distributor) != (chain.chain_id, chain.contracts.distributor.lower()):
        raise invalid("BAD_CORRECTION", "document: is of another ledger: another chain or distributor", "document")
    return found


def correct(connection: Connection, correction: Correction, document: bytes) -> Taken:
    """The journal that takes back what the correction names; a repeated one finds the first.  Raises `Fault`."""
    books.lock(connection)
    wrong, number = books.entry(connection, correction.journal), books.number_of(connection, correction.journal)
    if wrong is None or number is None:
        raise not_found("JOURNAL_NOT_FOUND", f"there is no journal {correction.journal[:200]}")
    known = corrections.of(connection, number)
    if known is None:
        _check(connection, wrong, number)
        made = books.post(connection, journal.correction(wrong, sha256(document)))
        corrections.keep(connection, made, number, correction.signer, correction.reason, document)
        _give_back(connection, wrong)
        known = corrections.of(connection, number)
        assert known is not None
    elif known.document != document:
        raise precondition(
            "ALREADY_CORRECTED",
            f"{wrong.key} was taken back by {known.operator} already: {known.reason}",
            correction=f"journals/{known.journal}",
        )
    return known


def _check(connection: Connection, wrong: Journal, number: int) -> None:
    if wrong.kind is not Kind.INFERENCE or not wrong.postings:
        raise precondition(
            "NOT_CORRECTABLE",
            f"{wrong.key} is not what an answer was charged: what the chain told is the chain's to take back, and what "
            "was settled stands",
        )
    if number <= settlements.last(connection):
        raise _promised(wrong, "an epoch has settled it, and what a root promises is not taken away")
    payer, fee = _payer(wrong), _fee(wrong)
    now = payers.lock(connection, payer)
    given = max(payers.redeemed_of(connection, payer), redeem.asked_for(connection, payer))
    if now.withdrawing or now.spent - fee < given:
        raise _promised(wrong, "the escrow has given the payer's spending already, or is about to")


def _give_back(connection: Connection, wrong: Journal) -> None:
    payer = payers.lock(connection, _payer(wrong))
    payers.set_spent(connection, payer.address, payer.spent - _fee(wrong))


def _promised(wrong: Journal, why: str) -> Fault:
    return precondition("ALREADY_SETTLED", f"{wrong.key} cannot be taken back: {why}; give the payer OPEN instead")


def _payer(wrong: Journal) -> str:
    return next(book for book in wrong.postings if book.startswith(journal.PAYER)).removeprefix(journal.PAYER)


def _fee(wrong: Journal) -> int:
    return -wrong.postings[journal.payer(_payer(wrong))]
