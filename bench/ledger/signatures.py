"""Signatures a second, on one core: of spending authorisations, and receipts that are admitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench.ledger import booking
from openledger import receipt, spending
from openledger.client import Wallet
from openledger.spending import SpendingAuthorisation
from openledger.split import Rule
from services.ledger import admit
from services.ledger.admit import Admitted

CHAIN_ID, ESCROW = 31337, "0x" + "e" * 40
DIFFERENT = 50
"""Payers and signatures; each is looked at many times, and nothing of it is remembered."""
ADMITTED = 20
"""Receipts are so many times fewer."""


def measure(count: int) -> dict[str, float]:
    """CPU rates, so that others on the machine do not count as much."""
    words = [_signed(number) for number in range(1, DIFFERENT + 1)]

    def check(number: int) -> None:
        authorisation, signature = words[number % DIFFERENT]
        if spending.authorised_by(CHAIN_ID, ESCROW, authorisation, signature) != authorisation.payer:
            raise RuntimeError("a good signature was not taken")

    leases = {f"0x{number:040x}": f"leases/{number}" for number in range(booking.PAYERS)}
    documents, terms = signed([booking.receipt(number, leases) for number in range(DIFFERENT)])

    return {
        "voucher_checks_per_s": _rate(check, count),
        "receipts_admitted_per_s": _rate(
            lambda number: _admit(documents[number % DIFFERENT], terms), count // ADMITTED
        ),
    }


def _signed(number: int) -> tuple[SpendingAuthorisation, bytes]:
    wallet = Wallet(f"0x{number:064x}")
    authorisation = SpendingAuthorisation(wallet.address, 10**20 + number, 2**40)
    message = spending.authorisation_message(CHAIN_ID, ESCROW, authorisation)
    return authorisation, spending.sign(message, wallet.private_key)


def signed(receipts: Sequence[Admitted]) -> tuple[list[bytes], admit.Terms]:
    """The receipts' documents, signed, and the terms on which they are admitted."""
    signer = Wallet("0x" + "5" * 64)
    documents = [receipt.sign(entry.receipt, signer.private_key).dumps() for entry in receipts]
    return documents, admit.Terms(frozenset({signer.address}), Rule(), receipts[0].receipt.platform)


def admitted(receipts: Sequence[Admitted]) -> list[Admitted]:
    """The same, signed and looked at, as the service books them."""
    documents, terms = signed(receipts)
    return [_admit(document, terms) for document in documents]


def _admit(document: bytes, terms: admit.Terms) -> Admitted:
    found = admit.admit(admit.read(document), terms)
    if isinstance(found, admit.Rejected):
        raise RuntimeError(f"a good receipt was not admitted: {found.message}")  # noqa: TRY004 - not a matter of types
    return found


def _rate(work: Callable[[int], object], count: int) -> float:
    begun = time.process_time()
    for number in range(count):
        work(number)
    return round(count / (time.process_time() - begun))
