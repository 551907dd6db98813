"""Events and receipts for tests of the books alone: no chain, no service, no signature."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from openledger import split
from openledger.receipt import Model, Receipt
from openledger.split import NAT, Evidence, Rule
from services.ledger.journal import Event
from services.ledger.store.tables import JOURNAL, POSTING

EARNERS = tuple("0x" + digit * 40 for digit in "abc")
MODELS = tuple(f"adapters/{name}/revisions/" + name * 64 for name in "ab")
DEVELOPER, PLATFORM = "0x" + "d" * 40, "0x" + "f" * 40


def event(number: int) -> Event:
    return Event(f"0x{number:064x}", f"0x{number:064x}", number)


def every_posting(connection: Connection) -> Iterator[tuple[str, str, int]]:
    """(kind, book, amount) of every posting."""
    query = select(JOURNAL.c.kind, POSTING.c.book, POSTING.c.amount)
    yield from map(tuple, connection.execute(query.join(POSTING, POSTING.c.journal == JOURNAL.c.number)))


def receipt_of(payer: str, lease: str, fee: int, number: int, developer: str = DEVELOPER, adapter: str = "") -> Receipt:
    signs = (1, -1 if number % 3 else 1, 1)  # the second earner's credits go up and down
    scores = {who: sign * NAT // (3 + place) for place, (who, sign) in enumerate(zip(EARNERS, signs, strict=True))}
    missed = split.Retrieval(2 * NAT, 3 * NAT // 2, {EARNERS[0]: NAT // 4, EARNERS[2]: -NAT})
    records = missed if number % 4 == 3 else None
    evidence = Evidence(2 * NAT, NAT, scores, (), dict.fromkeys(EARNERS, NAT // 20), retrieval=records)
    return Receipt(
        response=f"responses/{number}",
        trace_sha256="a" * 64,
        payer=f"accounts/{payer}",
        lease=lease,
        model=Model("base", "b" * 64, adapter, ""),
        method="test",
        rule=Rule(),
        evidence=evidence,
        fee=fee,
        platform_fee=fee // 3,
        shares=split.split_fee(fee, fee // 3, evidence, Rule()),
        developer=developer,
        platform=PLATFORM,
    )


def data_of(found: Receipt) -> int:
    """Of the fee, what belongs to the training data."""
    final = split.NAMED - {split.UNATTRIBUTED}
    return sum(amount for key, amount in found.shares.items() if key not in final and ":" not in key)
