"""The bench of the ledger: that what it books and seals is what it says."""

from __future__ import annotations

from bench import ledger
from bench.ledger import booking, epochs


def test_a_batch_is_booked_and_counted() -> None:
    with ledger.fresh("sqlite") as database:
        row = booking.measure(database, 40, 20)
    assert (row["database"], row["batch"], row["receipts"]) == ("sqlite", 20, 40)
    assert row["postings_per_s"] > 0
    assert ledger.figures([row]) == {f"{key}_sqlite_20": row[key] for key in ("receipts_per_s", "postings_per_s")}


def test_an_epoch_is_sealed_and_proved() -> None:
    with ledger.fresh("sqlite") as database:
        row = epochs.measure(database, 50)
    assert row["accounts"] == 50
    assert set(ledger.figures([row])) == {"seal_s_50", "first_proof_s_50", "proof_p99_ms_50"}


def test_addresses_are_as_many_as_they_are_asked_for() -> None:
    assert len({epochs.address(number) for number in range(1, 5000)}) == 4999
