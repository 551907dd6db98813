"""Whether there is a way to be paid for more than one's texts are worth.

    python -m bench attacks                 all of them on SmolLM2, in three worlds: one training each, of minutes
    python -m bench attacks --minutes 35    as many as that, and what was measured before; run again to go on
    python -m bench attacks --quick         a few on little data, under a minute, the same code

Each attack is the honest world with one change, trained anew with everything that a product's training does; what is
asked stays the same.  A world is a seed's: its contributors, records, initial weights and batches.  What was measured
is kept under $OPENLEDGER_CACHE/attacks, and the result is written at the end of every run, so a run that was stopped
goes on, and shows what it has.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import result
from bench.attacks.world import Laboratory, OutOfTime, Setting, as_json

if TYPE_CHECKING:
    from bench.attacks.pooled import Trial

SMOLLM2 = Setting("smollm2", queries=6)
QUICK = Setting("quick", contributors=4, records=2, attackers=4, queries=1, epochs=1)
QUICK_ATTACKS = ("split in 2", "noise: random words")
SEEDS = (0, 1, 2)

Step = tuple[list[dict[str, Any]], "Trial | None"]


def main(*, quick: bool, minutes: float | None = None) -> None:
    """Measure; writes bench/results/attacks.json and a picture, or attacks-quick.json."""
    setting, name = (QUICK, "attacks-quick") if quick else (SMOLLM2, "attacks")
    until = None if minutes is None else time.monotonic() + 60 * minutes
    rows: list[dict[str, Any]] = []
    trials: list[Trial] = []
    try:
        for seed in SEEDS[:1] if quick else SEEDS:
            laboratory = Laboratory(replace(setting, seed=seed), until=until)
            for more, trial in measure(laboratory, only=QUICK_ATTACKS if quick else ()):
                rows += [{"seed": seed, **row} for row in more]
                trials += [trial] if trial is not None else []
                _tell(more, laboratory)
    except OutOfTime:
        print("time is up: the same command goes on from here", file=sys.stderr, flush=True)
    write(name, setting, rows, trials)


def _tell(rows: Sequence[dict[str, Any]], laboratory: Laboratory) -> None:
    took = f"{laboratory.seconds[-1]:.0f} s a training, lately" if laboratory.seconds else "found"
    print(f"seed {laboratory.setting.seed}: {rows[0]['attack']} ({took})", file=sys.stderr, flush=True)


def measure(laboratory: Laboratory, *, only: tuple[str, ...] = ()) -> Iterator[Step]:
    """Rows of one world, attack by attack (see ``bench.attacks.report``), and what is pooled with other worlds'.

    only: some of those that need a training.  Raises OutOfTime, with everything yielded that was measured.
    """
    from bench.attacks import attacks, planted, queries, report, world
    from bench.attacks.pooled import Trial

    setting = laboratory.setting
    honest = world.honest(setting)
    own = queries.farmed(honest)
    found = laboratory.evidence(honest, queries=[*own, *queries.pasted(honest)])
    asked = len(honest.queries)
    before = report.Before(found[:asked], honest.people())
    trial = partial(Trial, seed=setting.seed, before=before.evidence)
    pasted = found[asked + len(own) :]
    own_accounts = {"accounts": (attacks.ATTACKER,), "theirs": (attacks.ATTACKER,), "rule": world.RULES[-1]}
    yield report.honest(before), None
    yield report.pasting(before, pasted), trial("prompt pasting", after=pasted, **own_accounts)
    yield report.questions(before, found[asked : asked + len(own)]), None
    if not only:
        yield [planted.measure(laboratory, setting.seed)], None
    steepest = None if only else partial(laboratory.steepest, honest)
    for attack in attacks.every(honest, before.best(), setting.seed, steepest):
        if only and attack.name not in only:
            continue
        for rule in attack.rules:
            tried = attack.world.credited() if rule == attacks.CREDITED[0] else attack.world
            evidence = laboratory.evidence(tried)
            pair = trial(attack.name, rule=rule, accounts=attack.before, after=evidence, theirs=attack.after)
            yield report.attack(attack, rule, before, evidence), pair
    for seed in () if only else (1, 2):
        evidence = laboratory.evidence(honest, seed=setting.seed + 100 * seed)
        yield report.control(seed, before, evidence), trial(report.CONTROL, after=evidence, **own_accounts)


def write(name: str, setting: Setting, rows: list[dict[str, Any]], trials: Sequence[Trial]) -> None:
    """The result so far: every world's rows, and gains over all of them."""
    from bench.attacks import pooled, report

    gains = pooled.rows(trials)
    figures, told = report.figures(gains, rows), [*gains, *rows]
    print(result.write(name, figures, seed=setting.seed, settings=dict(as_json(setting)), rows=told))
    if gains:
        (result.FOLDER / f"{name}.png").write_bytes(report.picture(gains))
