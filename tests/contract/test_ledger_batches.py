"""A page of receipts comes out as if its receipts had been booked one at a time, on both databases."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

import services.ledger
from openledger import canonical
from services.kit.database import Database
from services.ledger import journal, spend
from services.ledger.admit import Admitted, Rejected
from services.ledger.book import book, book_all
from services.ledger.lease import Lease
from services.ledger.store import books, payers
from services.ledger.store.tables import METADATA
from tests.books_world import event, every_posting, receipt_of

A, B, STRANGER = ("0x" + digit * 40 for digit in "123")
NOW = 1_000_000.0
OPEN = 10**18
LEASES = (
    Lease("leases/small", A, 30, 30, 0, 1_000_100, 1_000_100),
    Lease("leases/large", A, 3 * OPEN, 3 * OPEN, 0, 1_000_100, 1_000_100),
    Lease("leases/over", A, 2 * OPEN, 2 * OPEN, 0, 999_000, 999_000),
    Lease("leases/back", A, 2 * OPEN, 7, 0, 1_000_100, 1_000_100, released=True),
    Lease("leases/other", B, OPEN, OPEN, 0, 1_000_100, 1_000_100),
)
TELLING = METADATA.tables


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    database.write_now(begin)
    yield database
    database.close()


def begin(connection: Connection) -> None:
    books.lock(connection)
    for number, (who, amount) in enumerate(((A, 4 * OPEN), (B, OPEN))):
        books.post(connection, journal.deposit(event(number), who, amount))
        spend.authorise(connection, who, 9 * OPEN, 2_000_000, b"s", NOW)
    for lease in LEASES:
        payers.new_lease(connection, lease)


def admitted(number: int, payer: str, lease: str, fee: int, variant: int) -> Admitted:
    found = replace(receipt_of(payer, lease, fee, number), trace_sha256=str(variant) * 64)
    return Admitted(found, found.digest(), found.dumps())


def rejected(number: int) -> Rejected:
    document = f"document {number}".encode()
    return Rejected(canonical.sha256(document), f"responses/{number}", f"accounts/{A}", "BAD_NAMES", "no", document)


CHARGES = (
    *((A, "leases/small", fee) for fee in (0, 10, 11, 20)),
    *((A, "leases/large", fee) for fee in (1, OPEN, 2 * OPEN)),
    *((A, name, 2 * OPEN) for name in ("leases/over", "leases/back", "leases/unknown", "leases/other")),
    *((B, "leases/other", fee) for fee in (OPEN // 2, OPEN)),
    (STRANGER, "leases/large", 1),
)
"""Payer, lease and fee: two or three of them use up a lease, or all that a payer has."""
ENTRIES = st.one_of(
    *[st.builds(lambda number, charge: admitted(number, *charge, 1), st.integers(1, 9), st.sampled_from(CHARGES))] * 4,
    st.builds(lambda number, charge: admitted(number, *charge, 2), st.integers(1, 9), st.sampled_from(CHARGES)),
    st.builds(rejected, st.integers(1, 3)),
)


def rolled_back(database: Database, act):
    """What an act gives and leaves in the tables; nothing of it stays."""
    with database._writer.connect() as connection:
        books.lock(connection)
        given = act(connection)
        left = {
            name: sorted(
                repr({k: v for k, v in row._mapping.items() if k != "create_time"})
                for row in connection.execute(select(table))
            )
            for name, table in TELLING.items()
        }
        connection.rollback()
        return given, left


def parted(entries, cuts):
    places = sorted({0, len(entries), *(cut for cut in cuts if cut < len(entries))})
    return [entries[start:end] for start, end in pairwise(places)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRIES, max_size=12), cuts=st.sets(st.integers(1, 11), max_size=2))
def test_pages_of_any_length_come_out_the_same(database, entries, cuts):
    singly = rolled_back(database, lambda c: [book(c, entry, NOW) for entry in entries])
    assert rolled_back(database, lambda c: book_all(c, entries, NOW)) == singly
    pages = rolled_back(database, lambda c: [o for page in parted(entries, cuts) for o in book_all(c, page, NOW)])
    assert pages == singly


def outcomes(database, *entries):
    return rolled_back(database, lambda c: book_all(c, entries, NOW))


def test_a_page_says_of_each_receipt_what_became_of_it(database):
    first = admitted(1, A, "leases/small", 20, 1)
    found, left = outcomes(
        database,
        first,
        first,
        admitted(1, A, "leases/large", 20, 2),
        admitted(2, A, "leases/small", 11, 1),
        admitted(3, A, "leases/small", 10, 1),
        admitted(4, A, "leases/unknown", 1, 1),
        admitted(5, B, "leases/large", 1, 1),
        admitted(6, A, "leases/back", 2 * OPEN, 1),
        rejected(1),
        rejected(1),
    )
    assert found == [
        "BOOKED", "REPEATED", "CONFLICT", "LEASE_EXCEEDED", "BOOKED", "UNKNOWN_LEASE", "WRONG_LEASE",
        "INSUFFICIENT_BALANCE", "BAD_NAMES", "REPEATED",
    ]  # fmt: skip
    assert len(left["journal"]) == 2 + 2
    assert len(left["receipt"]) == 2
    assert len(left["rejected_receipt"]) == 6


def test_a_page_of_nothing_and_a_page_of_the_refused_move_nothing(database):
    untouched = rolled_back(database, lambda c: [])
    assert outcomes(database) == untouched
    found, left = outcomes(database, admitted(1, STRANGER, "leases/large", 1, 1))
    assert found == ["WRONG_LEASE"]
    assert {**left, "rejected_receipt": []} == untouched[1]


def test_an_answer_that_cost_nothing_is_booked_once(database):
    free = admitted(1, A, "leases/small", 0, 1)
    found, left = outcomes(database, free, free)
    assert found == ["BOOKED", "REPEATED"]
    assert len(left["posting"]) == 4


@pytest.mark.parametrize("fee", (1, 2**128 - 1))
def test_the_smallest_and_the_largest_fee_are_booked_to_the_unit(database, fee):
    def act(connection):
        books.post(connection, journal.deposit(event(9), STRANGER, fee))
        spend.authorise(connection, STRANGER, fee, 2_000_000, b"s", NOW)
        payers.new_lease(connection, Lease("leases/all", STRANGER, fee, fee, 0, 1_000_100, 1_000_100))
        found = book_all(connection, [admitted(1, STRANGER, "leases/all", fee, 1)], NOW)
        return found, journal.conservation(every_posting(connection)), payers.get(connection, STRANGER)

    (found, sums, payer), _ = rolled_back(database, act)
    assert found == ["BOOKED"]
    assert (sums.fees, sums.difference, sums.trial_balance) == (fee, 0, 0)
    assert (payer.spent, payer.balance) == (fee, 0)


def test_an_answer_that_is_charged_again_or_was_never_promised_moves_nothing(database):
    once = admitted(1, A, "leases/large", 7, 1)
    strange = (admitted(1, A, "leases/large", 8, 1), admitted(2, A, "leases/unknown", 7, 1))
    found, left = outcomes(database, once, *strange)
    assert found == ["BOOKED", "CONFLICT", "UNKNOWN_LEASE"]
    _, alone = outcomes(database, once)
    assert {**left, "rejected_receipt": []} == alone
