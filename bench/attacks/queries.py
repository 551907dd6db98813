"""Attacks that need no training: with questions, and with fees.

Of somebody who pays for answers, and is paid for them.  Knows the honest world alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.attacks.attacks import ATTACKER
from bench.attacks.money import FEE, paid
from bench.attacks.world import World, address
from openledger.split import BASIS_POINTS, Evidence, Rule
from services.factory.data import render

VOLUMES = (1, 10, 100)
"""How often all honest answers are asked for, for each farmed one."""
DUST = range(1, 101)


def farmed(world: World) -> list[tuple[str, str]]:
    """The attacker asks for its own records, and gets them word by word."""
    return [(render(world.question, {"term": text.term}), text.text) for text in world.of(ATTACKER)]


def pasted(world: World) -> list[tuple[str, str]]:
    """Everybody's questions, each below a record of the attacker's."""
    own = world.of(ATTACKER)
    return [(f"{own[n % len(own)].text}\n\n{prompt}", answer) for n, (prompt, answer) in enumerate(world.queries)]


def farming(honest: Sequence[Evidence], own: Sequence[Evidence], rule: Rule) -> list[dict[str, Any]]:
    """What comes back for each unit that is paid in, by the question that is best when asked once.

    `returned_to_all`: of an attacker who is developer and only staker as well.
    """
    cut = (rule.developer_bps + rule.stakers_bps) / BASIS_POINTS
    best = max(own, key=lambda one: _money([*honest, one], rule))
    rows = []
    for volume in VOLUMES:
        before = _money(list(honest) * volume, rule)
        for times in VOLUMES:
            back = (_money([*list(honest) * volume, *[best] * times], rule) - before) / times
            row = {"attack": "query farming", "honest": volume * len(honest), "farmed": times}
            rows.append(row | {"returned": round(back, 4), "returned_to_all": round(back + cut, 4)})
    return rows


def _money(evidence: Sequence[Evidence], rule: Rule) -> float:
    """The attacker's, in fees."""
    return paid(evidence, rule).of([address(ATTACKER)]) * len(evidence)


def dust(own: Sequence[Evidence], rule: Rule) -> dict[str, Any]:
    """The best of what comes back for fees of some units, and for the same answer at a usual fee."""
    best = max(own, key=lambda one: paid([one], rule).of([address(ATTACKER)]))
    back = {fee: paid([best] * 100, rule, [fee] * 100).of([address(ATTACKER)]) for fee in DUST}
    worst = max(DUST, key=lambda fee: back[fee])
    usual = paid([best] * 100, rule, [FEE] * 100).of([address(ATTACKER)])
    return {
        "attack": "dust",
        "fee": worst,
        "returned": round(back[worst], 4),
        "usual": round(usual, 4),
        "mean": round(sum(back.values()) / len(back), 4),
    }
