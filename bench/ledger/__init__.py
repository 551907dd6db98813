"""The ledger: postings a second, the time of one journal, closing and proving an epoch, signatures a second.

    python -m bench ledger             five rounds of 20,000 receipts a batch size, a million accounts
    python -m bench ledger --quick     under a minute, the same code
    python -m bench.ledger.answers     only an epoch of many answers, and deriving it again, into a file of its own
    python -m bench.ledger.looks       only what looks at the books cost, into a file of its own
    python -m bench.ledger.costs       only what settling costs on chain, from the gas that forge measured

A receipt here has 6 postings (payer, the model's pool, developer, platform, stakers, and the base model).  In batches
it is admitted already, and booked as the service books it, in one transaction a batch; `live` is the service's own
path from Attribution's stream to the books, signatures checked.  Every round measures every batch size on both
databases, one after the other, each on an empty one; figures are medians over rounds.  PostgreSQL is a cluster of its
own on this machine, with its defaults: what is committed is on disk (`fsync`, `synchronous_commit`), and so it is on
SQLite.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services.ledger
from bench import result
from bench.ledger import booking, costs, epochs, live, signatures
from services.kit.database import Database
from tests import postgres

KINDS = ("postgresql", "sqlite")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    receipts: int
    """Booked in each batch size and round; a fiftieth of it one by one."""
    batches: tuple[int, ...]
    accounts: tuple[tuple[int, int], ...]
    """Accounts, and how many of them earn in the epoch, by as few answers as there can be (see `answers`)."""
    signatures: int


_BUFFERS = "128MB"
"""PostgreSQL's default."""
MILLION = 1_000_000
EPOCHS = ((10_000, 10_000), (100_000, 100_000), (MILLION, 100_000), (MILLION, MILLION))
FULL = Size(5, 20_000, (1, 100, 200, 2_000), EPOCHS, 20_000)
QUICK = Size(2, 2_000, (1, 100, 2_000), ((2_000, 2_000),), 1_000)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/ledger.json, or ledger-quick.json."""
    size, load = (QUICK if quick else FULL), os.getloadavg()[0]
    rows = booked(size)
    for accounts, earning in size.accounts:
        for kind in KINDS:
            with fresh(kind) as database:
                rows.append(_told(epochs.measure(database, accounts, earning)))
    found = figures(rows) | signatures.measure(size.signatures) | costs.figures()
    rows += costs.rows()
    settings = {"quick": quick, "load_at_start": load, "load_at_end": os.getloadavg()[0], **vars(size)}
    print(result.write("ledger-quick" if quick else "ledger", found, seed=0, settings=settings, rows=rows))


def booked(size: Size) -> list[dict[str, Any]]:
    """Of each way to book, on each database, the medians over the rounds; the ways take turns."""
    ways: list[tuple[str, int]] = [(kind, batch) for batch in (*size.batches, 0) for kind in KINDS]
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(size.rounds):
        for kind, batch in ways:
            with fresh(kind) as database:
                row = (
                    booking.measure(database, size.receipts, batch) if batch else live.measure(database, size.receipts)
                )
            rounds[kind, batch].append(_told(row))
    return [medians(rows) for rows in rounds.values()]


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of several of the same kind, with the rates of each."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    middle = {key: statistics.median(row[key] for row in rows) for key in numbers}
    return rows[0] | middle | {"rounds": [row["receipts_per_s"] for row in rows]}


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures by name, of what was measured; those that the design names by its names."""
    found: dict[str, float] = {}
    for row in rows:
        kind = row["database"]
        if "accounts" in row:
            keys, part = ("ready_s", "seal_s", "sound_s", "bundle_s", "first_proof_s", "proof_p99_ms"), row["accounts"]
            name = f"{kind}_{part}" if row["earning"] == part else f"{kind}_{part}_{row['earning']}_earning"
            found |= {f"{key}_{name}": row[key] for key in keys}
            if (kind, part, row["earning"]) == ("postgresql", MILLION, MILLION):
                # What the design calls seal and prove; the second look and the bundle are in `ready_s`.
                found["seal_1m_s"] = round(row["seal_s"] + row["first_proof_s"], 2)
            continue
        name = f"{kind}_{row.get('batch', 'live')}"
        found |= {f"{key}_{name}": row[key] for key in ("receipts_per_s", "postings_per_s")}
        if row.get("batch") == 1:
            found[f"journal_p99_ms_{kind}"] = row["batch_p99_ms"]
        if kind == "postgresql":
            found["postings_per_s_postgres"] = max(found.get("postings_per_s_postgres", 0), row["postings_per_s"])
    return found


@contextmanager
def fresh(kind: str) -> Iterator[Database]:
    """An empty, migrated ledger database."""
    if kind == "postgresql":
        with (
            postgres.cluster(shared_buffers=_BUFFERS) as cluster,
            postgres.fresh_database(cluster) as url,
            _open(url) as database,
        ):
            yield database
    else:
        with tempfile.TemporaryDirectory() as folder, _open(f"sqlite:///{folder}/ledger.db") as database:
            yield database


@contextmanager
def _open(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    try:
        yield database
    finally:
        database.close()


def _told(row: dict[str, Any]) -> dict[str, Any]:
    print(row, file=sys.stderr, flush=True)
    return row
