"""Receipts into the books: postings a second, and how long a batch takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from openledger import split
from openledger.receipt import Model, Receipt
from openledger.split import NAT, Evidence, Rule
from services.kit.database import Database
from services.ledger import journal, spend
from services.ledger.admit import Admitted
from services.ledger.book import BOOKED, book_all
from services.ledger.journal import Event
from services.ledger.lease import Times
from services.ledger.store import books

PAYERS, EARNERS = 50, 20_000
POSTINGS = 6
"""Of an answer: payer, the pool of its model, developer, platform, stakers, and the base model."""
ALONE = 50
"""Receipts are booked one by one so many times fewer."""

Page = list[Admitted]


def measure(database: Database, count: int, batch: int) -> dict[str, Any]:
    """Book `count` receipts in batches of `batch`."""
    count = count if batch > 1 else count // ALONE
    leases = database.write_now(begin)
    pages = [[receipt(n, leases) for n in range(at, at + batch)] for at in range(0, count, batch)]
    found = sum(len(journal.inference(entry.receipt).postings) for entry in pages[0]) / len(pages[0])
    if found != POSTINGS:
        raise RuntimeError(f"a receipt has {found} postings, not {POSTINGS}")
    seconds, cpu = [], time.process_time()
    for page in pages:
        begun = time.perf_counter()
        database.write_now(partial(book, page=page))
        seconds.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    return {
        "database": "sqlite" if database.is_sqlite else "postgresql",
        "batch": batch,
        "receipts": count,
        "receipts_per_s": round(count / sum(seconds)),
        "postings_per_s": round(POSTINGS * count / sum(seconds)),
        "cpu_us_a_receipt": round(cpu / count * 1e6, 1),
        "batch_p50_ms": round(statistics.median(seconds) * 1e3, 2),
        "batch_p99_ms": round(sorted(seconds)[len(seconds) * 99 // 100] * 1e3, 2),
    }


def receipt(number: int, leases: dict[str, str], people: Sequence[str] = (), model: str = "c" * 64) -> Admitted:
    """The receipt of an answer by a tuned model.

    It pays `people`, or three of the contributors, now these, now those.  model: its revision's digest, hex.
    """
    payer = list(leases)[number % PAYERS]
    people = people or [f"0x{EARNERS + (number * 3 + place) % EARNERS:040x}" for place in range(3)]
    scores = {who: NAT // (len(people) + place) for place, who in enumerate(people)}
    evidence = Evidence(2 * NAT, NAT, scores, (), dict.fromkeys(people, 0))
    fee, platform_fee = 10**16 + number, 10**15
    found = Receipt(
        response=f"responses/{number:064x}",
        trace_sha256="a" * 64,
        payer=f"accounts/{payer}",
        lease=leases[payer],
        model=Model("base", "b" * 64, f"adapters/a/revisions/{model}", "d" * 64),
        method="bench",
        rule=Rule(),
        evidence=evidence,
        fee=fee,
        platform_fee=platform_fee,
        shares=split.split_fee(fee, platform_fee, evidence, Rule()),
        developer="0x" + "d" * 40,
        platform="0x" + "f" * 40,
    )
    return Admitted(found, found.digest(), found.dumps())


def begin(connection: Connection) -> dict[str, str]:
    """Payers with money and a lease each; the leases by payer."""
    books.lock(connection)
    now, leases = time.time(), {}
    for number in range(PAYERS):
        payer, much = f"0x{number + 1:040x}", 10**24
        books.post(connection, journal.deposit(Event(f"0x{number:064x}", f"0x{number:064x}", 0), payer, much))
        spend.authorise(connection, payer, much, int(now) + 10**6, b"s", now)
        leases[payer] = spend.acquire(connection, payer, much // 2, Times(10**5, 10, 10), now).name
    return leases


def book(connection: Connection, page: Page) -> None:
    """Book a page, all of which must count."""
    books.lock(connection)
    outcomes = book_all(connection, page, time.time())
    if set(outcomes) != {BOOKED}:
        raise RuntimeError(f"not all were booked: {set(outcomes)}")
