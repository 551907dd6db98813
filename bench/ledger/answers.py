"""An epoch of many answers: closing it, writing its bundle, and deriving it again from that, as a stranger does.

Elsewhere epochs have as few answers as there can be, since accounts are what is looked at there.

    python -m bench.ledger.answers     into bench/results/ledger-answers.json
"""

from __future__ import annotations

import os

from bench import ledger, result
from bench.ledger import epochs

ACCOUNTS, EARNING, ANSWERS = 10_000, 1_600, 50_000


def main() -> None:
    """Measure on both databases."""
    load, rows = os.getloadavg()[0], []
    for kind in ledger.KINDS:
        with ledger.fresh(kind) as database:
            rows.append(epochs.measure(database, ACCOUNTS, EARNING, ANSWERS))
    figures = {
        f"{name}_ms_an_answer_{row['database']}": round(1e3 * row[f"{name}_s"] / ANSWERS, 4)
        for row in rows
        for name in ("seal", "bundle", "verify")
    }
    settings = {"contributors": epochs.FEW, "load_at_start": load, "load_at_end": os.getloadavg()[0]}
    print(result.write("ledger-answers", figures, seed=0, settings=settings, rows=rows))


if __name__ == "__main__":
    main()
