"""Whether there is a way to be paid for more than one's texts are worth.

    python -m bench attacks                 all of them on SmolLM2: one training each, of minutes
    python -m bench attacks --quick         a few on little data, under a minute, the same code

Each attack is the honest world with one change, trained anew with everything that a product's training does; what is
asked stays the same.  What was measured is kept under $OPENLEDGER_CACHE/attacks, and the result is written after every
attack, so a run that was stopped goes on, and shows what it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import result
from bench.attacks.world import Laboratory, Setting, as_json

SMOLLM2 = Setting("smollm2", queries=6)
QUICK = Setting("quick", contributors=4, records=2, attackers=4, queries=1, epochs=1)
QUICK_ATTACKS = ("split in 2", "noise: random words")


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/attacks.json and a picture, or attacks-quick.json."""
    setting, name = (QUICK, "attacks-quick") if quick else (SMOLLM2, "attacks")
    rows: list[dict[str, Any]] = []
    for more in measure(setting, only=QUICK_ATTACKS if quick else ()):
        rows += more
        write(name, setting, rows)


def measure(
    setting: Setting, *, only: tuple[str, ...] = (), cache: Path | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Rows, attack by attack: see ``bench.attacks.report``.  only: some of those that need a training."""
    from bench.attacks import attacks, planted, queries, report, world

    laboratory = Laboratory(setting, cache)
    honest = world.honest(setting)
    own = queries.farmed(honest)
    found = laboratory.evidence(honest, queries=[*own, *queries.pasted(honest)])
    asked = len(honest.queries)
    before = report.Before(found[:asked], honest.people())
    yield report.honest(before)
    yield report.pasting(before, found[asked + len(own) :])
    yield report.questions(before, found[asked : asked + len(own)])
    if not only:
        yield [planted.measure(laboratory, setting.seed)]
    for attack in attacks.every(honest, before.best(), setting.seed):
        if only and attack.name not in only:
            continue
        for rule in attack.rules:
            tried = attack.world.credited() if rule == attacks.CREDITED[0] else attack.world
            yield report.attack(attack, rule, before, laboratory.evidence(tried))
    if not only:
        yield [row for seed in (1, 2) for row in report.control(seed, before, laboratory.evidence(honest, seed=seed))]


def write(name: str, setting: Setting, rows: list[dict[str, Any]]) -> None:
    """The result so far."""
    from bench.attacks import report

    print(result.write(name, report.figures(rows), seed=setting.seed, settings=dict(as_json(setting)), rows=rows))
    (result.FOLDER / f"{name}.png").write_bytes(report.picture(rows))
