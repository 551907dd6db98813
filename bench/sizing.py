"""What an installation of some size takes, from what was measured on two cores: arithmetic, and no measurement.

    python -m bench.sizing       the tables of docs/sizing.md, as Markdown

Nothing is known here of GPUs, on which no figure was measured, and of models other than the benches' (135 million
weights): both work and memory of generating and attributing grow with the model.  Prices are examples.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.ledger import costs
from bench.ledger.booking import POSTINGS
from bench.result import FOLDER

DOLLARS_A_CORE_HOUR = 0.04
DAY, MILLION = 86_400, 1_000_000
EPOCHS_A_DAY, PAYERS_A_MILLION = 24, 1_000


@dataclass(frozen=True)
class Size:
    """So many answers a second, by models that so many contributors gave to, each; and accounts that earn in all."""

    answers: int
    contributors: int
    accounts: int

    @property
    def name(self) -> str:
        """For a table's head."""
        return f"{self.answers:,} a second"


SIZES = (Size(1, 10, 10_000), Size(100, 100, 100_000), Size(10_000, 100, 1_000_000))


@dataclass(frozen=True)
class Measured:
    """What one answer takes, in core seconds and bytes, and what one process does in a second."""

    generation: float
    attribution: dict[int, float]
    """By contributors of its model."""
    receipt_bytes: dict[int, float]
    booking: float
    booked_a_second: float
    seal_seconds: dict[int, float]
    """Of so many accounts, all of which earned."""
    check: float
    """A posting, in a look at everything."""

    @classmethod
    def load(cls) -> Measured:
        """From the committed results."""
        attribute, ledger = _rows("attribute"), _rows("ledger")
        eight = next(row for row in attribute if row["kind"] == "ratio" and row["at_once"] == 8)
        by = {row["contributors"]: row for row in attribute if row["kind"] == "contributors"}
        on_postgresql = [row for row in ledger if row.get("database") == "postgresql"]
        live = next(row for row in on_postgresql if "live" in row)
        look = next(row for row in _rows("ledger-looks") if row["database"] == "postgresql")
        return cls(
            generation=eight["generation_cpu_s"] / eight["answers"],
            attribution={number: row["cpu_ms"] / 1e3 for number, row in by.items()},
            receipt_bytes={number: 1e3 * row["receipt_kb"] for number, row in by.items()},
            booking=live["cpu_us_a_receipt"] / 1e6,
            booked_a_second=live["receipts_per_s"],
            seal_seconds={
                row["accounts"]: row["seal_s"] for row in on_postgresql if row.get("accounts") == row.get("earning", 0)
            },
            check=look["check_cpu_s"] / look["postings"],
        )


def lines(found: Measured) -> Iterator[tuple[str, Callable[[Size], str]]]:
    """Of the table of sizes: what, and how much at a size."""
    yield "cores that generate", lambda s: _number(s.answers * found.generation)
    yield "cores that attribute", lambda s: _number(s.answers * found.attribution[s.contributors])
    yield "cores that book", lambda s: _number(s.answers * found.booking)
    yield "of what one ledger takes in", lambda s: f"{100 * s.answers / found.booked_a_second:,.1f} %"
    yield "contributors a model", lambda s: f"{s.contributors:,}"
    yield (
        "receipts a day, as signed",
        lambda s: f"{_daily(s, found) / 1e9:,.1f} GB",
    )
    yield (
        "a whole look at the books, for each day of answers",
        lambda s: f"{s.answers * DAY * POSTINGS * found.check:,.1f} core seconds",
    )
    yield "accounts that earn", lambda s: f"{s.accounts:,}"
    yield "the books are held to seal an epoch", lambda s: f"{found.seal_seconds[s.accounts]:,.1f} s"


def table() -> str:
    """What sizes take, as Markdown."""
    found = Measured.load()
    head = ["| | " + " | ".join(size.name for size in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    rows = [f"| {what} | " + " | ".join(map(much, SIZES)) + " |" for what, much in lines(found)]
    return "\n".join([*head, *rows]) + "\n"


def cost_table() -> str:
    """What a million answers cost by a model of a hundred contributors, as Markdown."""
    found, gas = Measured.load(), costs.figures()
    work = {
        "generating": found.generation,
        "attributing": found.attribution[100],
        "booking": found.booking,
    }
    lines = ["| a million answers | | dollars |", "|---|---|---|"]
    for what, seconds in work.items():
        hours = seconds * MILLION / 3600
        lines.append(f"| {what} | {hours:,.1f} core hours | {hours * DOLLARS_A_CORE_HOUR:,.2f} |")
    chain = EPOCHS_A_DAY * gas["gas_root"] + PAYERS_A_MILLION * gas["gas_voucher"]
    for name, wei in costs.GWEI:
        dollars = chain * wei * costs.ETHER_IN_DOLLARS / 10**18
        lines.append(f"| settling, at {name} gwei | {chain:,.0f} gas | {dollars:,.2f} |")
    return "\n".join(lines) + "\n"


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())["rows"]
    return rows


def _daily(size: Size, found: Measured) -> float:
    return size.answers * DAY * found.receipt_bytes[size.contributors]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:,.2g}"


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n{cost_table()}")
