"""The ledger: postings a second, the time of one journal, sealing and proving an epoch, signatures a second.

    python -m bench ledger             20,000 receipts a batch size, a million accounts
    python -m bench ledger --quick     under a minute, the same code
    python -m bench.ledger.costs       only what settling costs on chain, from the gas that forge measured

A receipt here has 6 postings (payer, the model's pool, developer, platform, stakers, and the base model), is admitted
already, and is booked as the service books it, in one transaction a batch.  PostgreSQL is a cluster of its own on this
machine, with its defaults: what is committed is on disk (`fsync`, `synchronous_commit`), and so it is on SQLite.
Sealing reads and writes an SQLite file.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services.ledger
from bench import result
from bench.ledger import booking, costs, epochs, signatures
from services.kit.database import Database
from tests import postgres


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    receipts: int
    """Booked in each batch size; a fiftieth of it one by one."""
    batches: tuple[int, ...]
    accounts: tuple[int, ...]
    signatures: int


FULL = Size(20_000, (1, 100, 200, 2_000), (10_000, 100_000, 1_000_000), 20_000)
QUICK = Size(2_000, (1, 100, 2_000), (10_000,), 1_000)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/ledger.json, or ledger-quick.json."""
    size, load = (QUICK if quick else FULL), os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for kind in ("postgresql", "sqlite"):
        for batch in size.batches:
            with fresh(kind) as database:
                rows.append(_told(booking.measure(database, size.receipts, batch)))
    for accounts in size.accounts:
        with fresh("sqlite") as database:
            rows.append(_told(epochs.measure(database, accounts)))
    found = figures(rows) | signatures.measure(size.signatures) | costs.figures()
    rows += costs.rows()
    settings = {"quick": quick, "load_at_start": load, "load_at_end": os.getloadavg()[0], **vars(size)}
    print(result.write("ledger-quick" if quick else "ledger", found, seed=0, settings=settings, rows=rows))


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures by name, of what was measured."""
    found: dict[str, float] = {}
    for row in rows:
        if "batch" in row:
            name = f"{row['database']}_{row['batch']}"
            found |= {f"{key}_{name}": row[key] for key in ("receipts_per_s", "postings_per_s")}
            if row["batch"] == 1:
                found[f"journal_p99_ms_{row['database']}"] = row["batch_p99_ms"]
        else:
            name = f"{row['accounts']}"
            found |= {f"{key}_{name}": row[key] for key in ("seal_s", "first_proof_s", "proof_p99_ms")}
    return found


@contextmanager
def fresh(kind: str) -> Iterator[Database]:
    """An empty, migrated ledger database."""
    if kind == "postgresql":
        with postgres.cluster() as cluster, postgres.fresh_database(cluster) as url, _open(url) as database:
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
