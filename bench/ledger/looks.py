"""What it takes to look at the books: at everything, and at what is new, for the service and for whoever asks.

`check_s`: a look at every posting and every book, as the service makes one, without the rests that it takes between
pieces.  `conservation_s`: the sums that anybody may ask for, where answers were booked since the last time.

    python -m bench.ledger.looks     into bench/results/ledger-looks.json
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import Any
from unittest.mock import patch

from bench import ledger, result
from bench.ledger import booking
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import checks as looks
from services.ledger.checks import Checks
from services.ledger.sums import Sums

ANSWERS, NEW, PAGE = 50_000, 6_000, 2_000
"""A minute of a hundred answers a second is new."""


def measure(database: Database, answers: int = ANSWERS, new: int = NEW) -> dict[str, Any]:
    """Of books of so many answers, and so many more."""
    leases = database.write_now(booking.begin)
    _book(database, leases, 0, answers)
    found = asyncio.run(_look(database, partial(_book, database, leases, answers, new)))
    kind = "sqlite" if database.is_sqlite else "postgresql"
    postings = booking.POSTINGS * answers
    us = round(found["check_cpu_s"] / postings * 1e6, 2)
    return {"database": kind, "postings": postings, "new": booking.POSTINGS * new, **found, "check_us_a_posting": us}


def main() -> None:
    """Measure on both databases."""
    load, rows = os.getloadavg()[0], []
    for kind in ledger.KINDS:
        with ledger.fresh(kind) as database:
            rows.append(measure(database))
    figures = {f"{name}_{row['database']}": row[name] for row in rows for name in ("check_s", "conservation_s")}
    settings = {"answers": ANSWERS, "new": NEW, "load_at_start": load, "load_at_end": os.getloadavg()[0]}
    print(result.write("ledger-looks", figures, seed=0, settings=settings, rows=rows))


def _book(database: Database, leases: dict[str, str], first: int, count: int) -> None:
    for at in range(first, first + count, PAGE):
        page = [booking.receipt(number, leases) for number in range(at, min(at + PAGE, first + count))]
        database.write_now(partial(booking.book, page=page))


async def _look(database: Database, book_more: Any) -> dict[str, float]:
    checks = Checks(database, Metrics("ledger"), seconds=3600, whole_seconds=86_400)
    sums = Sums(database, checks, seconds=0)
    with patch.object(looks, "SHARE", 1):
        whole, cpu = await _timed(checks.whole())
        await asyncio.to_thread(book_more)
        asked, asked_cpu = await _timed(sums.now())
        new, new_cpu = await _timed(checks.step())
    if checks.trouble:
        raise RuntimeError(checks.trouble)
    return {
        "check_s": whole, "check_cpu_s": cpu, "check_new_s": new, "check_new_cpu_s": new_cpu,
        "conservation_s": asked, "conservation_cpu_s": asked_cpu,
    }  # fmt: skip


async def _timed(work: Any) -> tuple[float, float]:
    """By the clock, and of this process's CPU, in seconds."""
    begun, cpu = time.perf_counter(), time.process_time()
    await work
    return round(time.perf_counter() - begun, 3), round(time.process_time() - cpu, 3)


if __name__ == "__main__":
    main()
