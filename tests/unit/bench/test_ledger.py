"""The bench of the ledger: that what it books and seals is what it says."""

from __future__ import annotations

import pytest

from bench import ledger
from bench.ledger import booking, epochs, live, looks
from services.ledger.store import control as store
from services.ledger.store import leaf_pages


def test_a_batch_is_booked_and_counted() -> None:
    with ledger.fresh("sqlite") as database:
        row = booking.measure(database, 40, 20)
    assert (row["database"], row["batch"], row["receipts"]) == ("sqlite", 20, 40)
    assert row["postings_per_s"] > 0
    assert ledger.figures([row]) == {f"{key}_sqlite_20": row[key] for key in ("receipts_per_s", "postings_per_s")}


def test_the_live_path_books_what_it_reads() -> None:
    with ledger.fresh("sqlite") as database:
        row = live.measure(database, 250)
    assert (row["receipts"], row["at_once"]) == (250, 250), "two pages, booked at once"
    assert set(ledger.figures([row])) == {"receipts_per_s_sqlite_live", "postings_per_s_sqlite_live"}


def test_looks_at_the_books_are_measured_on_books_that_are_right() -> None:
    with ledger.fresh("sqlite") as database:
        row = looks.measure(database, 40, 20)
        last = database.read_now(store.last)
    assert (row["postings"], row["new"], last) == (240, 120, 60 + booking.PAYERS)
    assert min(row[name] for name in ("check_s", "check_new_s", "conservation_s")) > 0


@pytest.mark.long
def test_an_epoch_is_closed_and_proved() -> None:
    with ledger.fresh("sqlite") as database:
        row = epochs.measure(database, 1_200, 1_001)
        accounts = database.read_now(lambda c: leaf_pages.leaves(c, 2))
    assert len(accounts) == 1_200 + 2, "and the platform, and the developer"
    assert all((accounts[epochs.address(n)] > epochs.BEFORE) is (n <= 1_001) for n in range(1, 1_201))
    parts = ("seal_s", "sound_s", "bundle_s", "first_proof_s")
    assert row["ready_s"] == round(sum(row[part] for part in parts), 2)
    named = ("ready_s", *parts, "proof_p99_ms")
    assert set(ledger.figures([row])) == {f"{name}_sqlite_1200_1001_earning" for name in named}


@pytest.mark.long
def test_an_epoch_of_many_answers_is_derived_again() -> None:
    with ledger.fresh("sqlite") as database:
        row = epochs.measure(database, 200, 48, answers=90)
        accounts = database.read_now(lambda c: leaf_pages.leaves(c, 2))
    assert all((accounts[epochs.address(n)] > epochs.BEFORE) is (n <= 48) for n in range(1, 201))
    assert (row["answers"], row["verify_s"] > 0) == (90, True)


def test_what_is_told_is_the_median_of_the_rounds() -> None:
    rows = [{"database": "postgresql", "batch": 9, "receipts_per_s": n, "postings_per_s": 6 * n} for n in (5, 90, 7)]
    found = ledger.medians(rows)
    assert found == {**rows[0], "receipts_per_s": 7, "postings_per_s": 42, "rounds": [5, 90, 7]}
    assert ledger.figures([found])["postings_per_s_postgres"] == 42


def test_addresses_are_as_many_as_they_are_asked_for() -> None:
    assert len({epochs.address(number) for number in range(1, 5000)}) == 4999
