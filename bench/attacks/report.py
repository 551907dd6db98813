"""From evidence to rows: what an attacker has before and after, by how much of the doubt is taken off.

Parts are of what the answers cost.  This module trains nothing.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.attacks import queries
from bench.attacks.attacks import ATTACKER, Attack
from bench.attacks.money import Paid, paid
from bench.attacks.world import RULES, address
from openledger.split import Evidence, Rule

Z_MILLI = (0, 100, 500, 1000)
ANSWERS, DRAWS = (5, 10, 20, 40), 40
"""Of how many answers settled together gains are also told, in the mean over so many draws of them."""
CONTROL = "control: nothing changed"
CHOSEN = Rule().noise_z_milli / 1000
"""The product's."""


@dataclass(frozen=True)
class Before:
    """The honest world's answers, and who has records in it."""

    evidence: Sequence[Evidence]
    people: Sequence[int]

    def best(self) -> int:
        """Whose texts earn most, of those who do not attack."""
        everybody = paid(self.evidence, Rule(noise_z_milli=0))
        return max((who for who in self.people if who != ATTACKER), key=lambda who: everybody.of([address(who)]))


def honest(before: Before) -> list[dict[str, Any]]:
    """What everybody has when nobody attacks."""
    rows = []
    for z, everybody in _ways(before.evidence):
        parts = {str(who): round(everybody.of([address(who)]), 6) for who in before.people}
        rows.append({"attack": "none", "z": z, **_all(everybody), "people": parts})
    return rows


def attack(tried: Attack, rule: str, before: Before, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """One attack under one rule about near-duplicates.

    Somebody new is compared with an equal part for everybody, and (`by_records`) with one for every record.
    """
    rows = _compared(tried.name, rule, before, evidence, tried.before, tried.after)
    if tried.before:
        return [row | {"by_answers": by_answers(before, evidence, tried, row["z"])} for row in rows]
    people, records = len(evidence[0].scores), tried.world.records
    part = sum(given.who in tried.after for given in records) / len(records)
    return [row | {"by_records": round((row["gain"] or 0.0) / people / part, 3)} for row in rows]


def by_answers(before: Before, evidence: Sequence[Evidence], tried: Attack, z: float) -> dict[str, float]:
    """Gains where fewer answers are settled together: the mean pay of an attack over the mean pay before it."""
    rule, found = Rule(noise_z_milli=round(1000 * z)), {}
    for count in (count for count in ANSWERS if count < len(evidence)):
        had = has = 0.0
        for draw in range(DRAWS):
            chosen = random.Random(draw).sample(range(len(evidence)), count)
            had += paid([before.evidence[i] for i in chosen], rule).of(map(address, tried.before))
            has += paid([evidence[i] for i in chosen], rule).of(map(address, tried.after))
        if had:
            found[str(count)] = round(has / had, 3)
    return found


def pasting(before: Before, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """The same answers, with the attacker's texts in everybody's prompts."""
    return _compared("prompt pasting", RULES[-1], before, evidence, (ATTACKER,), (ATTACKER,))


def control(seed: int, before: Before, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """No attack, but other initial weights and batches: how much pay varies by chance."""
    return _compared(f"{CONTROL}, seed {seed}", RULES[-1], before, evidence, (ATTACKER,), (ATTACKER,))


def questions(before: Before, own: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Asking for one's own texts, and paying little often."""
    rows: list[dict[str, Any]] = []
    for z in Z_MILLI:
        rule = Rule(noise_z_milli=z)
        found = [*queries.farming(before.evidence, own, rule), queries.dust(own, rule)]
        rows += [row | {"z": z / 1000} for row in found]
    return rows


def _compared(
    name: str,
    rule: str,
    before: Before,
    evidence: Sequence[Evidence],
    accounts: Sequence[int],
    theirs: Sequence[int],
) -> list[dict[str, Any]]:
    """accounts, theirs: the attacker's before and after; before, none: an equal part for everybody."""
    rows = []
    for (z, then), (_, now) in zip(_ways(before.evidence), _ways(evidence), strict=True):
        people = len(evidence[0].scores)
        had = then.of(map(address, accounts)) if accounts else now.data / people
        has = now.of(map(address, theirs))
        row = {"attack": name, "near_duplicates": rule, "z": z, "before": round(had, 6), "after": round(has, 6)}
        row |= {"gain": round(has / had, 3) if had else None, "against": "own" if accounts else "uniform"}
        rows.append(row | _all(now) | {"others": round(sum(now.people.values()) - has, 6)})
    return rows


def _all(everybody: Paid) -> dict[str, float]:
    return {
        "base": round(everybody.base, 6),
        "unattributed": round(everybody.unattributed, 6),
        "unattributed_of_data": round(everybody.unattributed / everybody.data, 4) if everybody.data else 1.0,
    }


def _ways(evidence: Sequence[Evidence]) -> Iterator[tuple[float, Paid]]:
    for z in Z_MILLI:
        yield z / 1000, paid(evidence, Rule(noise_z_milli=z))


KINDS = (
    ("split_gain", "split in", RULES[-1]),
    ("copy_gain", "copy another's", RULES[-1]),
    ("copy_gain_without_clusters", "copy another's", RULES[0]),
    ("copy_own_gain", "copy own", RULES[-1]),
    ("paraphrase_gain", "paraphrase", RULES[-1]),
    ("noise_share", "noise", RULES[-1]),
    ("adversarial_share", "adversarial", RULES[-1]),
    ("outlier_share", "outlier: long", RULES[-1]),
    ("flipped_gain", "outlier: own", RULES[-1]),
    ("boilerplate_share", "boilerplate", RULES[-1]),
    ("pair_gain", "pair", RULES[-1]),
    ("pasting_gain", "prompt pasting", RULES[-1]),
)
"""A figure is the worst gain of the attacks whose names begin so, under that rule."""


def figures(pooled: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The worst of each kind of attack, by the product's rule, with its interval; nothing taken off as `_z0`.

    pooled: gains over all worlds; rows: each world's.
    """
    found: dict[str, float] = {}
    for tail, z in (("", CHOSEN), ("_z0", 0.0)):
        for figure, kind, rule in KINDS:
            some = [
                row
                for row in pooled
                if row["attack"].startswith(kind) and row["near_duplicates"] == rule and row["z"] == z
            ]
            if gains := [row for row in some if row["gain"] is not None]:
                worst = max(gains, key=lambda row: row["gain"])
                ends = {end: worst[end] for end in ("low", "high") if worst[end] is not None and not tail}
                found |= {figure + tail: worst["gain"]} | {f"{figure}_{end}": value for end, value in ends.items()}
        returned = [r["returned_to_all"] for r in rows if "returned_to_all" in r and r["z"] == z]
        if returned:
            found["farming_returned" + tail] = max(returned)
    return found | _by_answers(rows) | _planted(rows)


def _by_answers(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The worst in any world."""
    found: dict[str, float] = {}
    for row in rows:
        for figure, kind in (("split_gain", "split in"), ("copy_gain", "copy another's")):
            if row["attack"].startswith(kind) and row["z"] == CHOSEN and row["near_duplicates"] == RULES[-1]:
                for count, gain in row.get("by_answers", {}).items():
                    name = f"{figure}_of_{count}_answers"
                    found[name] = max(gain, found.get(name, gain))
    return found


def _planted(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean over worlds."""
    planted = [row for row in rows if row["attack"] == "planted facts"]
    names = ("top1", "paraphrase_top1", "quoted") if planted else ()
    return {f"planted_{name}": round(sum(row[name] for row in planted) / len(planted), 4) for name in names}


def picture(rows: Sequence[dict[str, Any]]) -> bytes:
    """PNG: a bar an attack, with its interval, by the product's rule and without noise taken off.

    What honest work has is 1. rows: gains over all worlds.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys((r["attack"], r["near_duplicates"]) for r in rows))
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(names) + 1.2))
    for offset, z in ((0.2, 0.0), (-0.2, CHOSEN)):
        found = {(r["attack"], r["near_duplicates"]): r for r in rows if r["z"] == z}
        gains = [found[name]["gain"] or 0.0 for name in names]
        ends = [
            (found[name]["low"] or gain, found[name]["high"] or gain) for name, gain in zip(names, gains, strict=True)
        ]
        axes.barh(
            [len(names) - place + offset for place in range(len(names))],
            gains,
            0.38,
            xerr=(
                [max(0.0, gain - low) for gain, (low, _) in zip(gains, ends, strict=True)],
                [max(0.0, high - gain) for gain, (_, high) in zip(gains, ends, strict=True)],
            ),
            error_kw={"linewidth": 0.8},
            label=f"{z:g} of the doubt taken off",
        )
    labels = [name if rule == RULES[-1] else f"{name} (no rule about copies)" for name, rule in names]
    axes.set_yticks([len(names) - place for place in range(len(names))], labels)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("pay after / honest pay before; noise, outliers, boilerplate: / an equal part")
    axes.legend(loc="lower right")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return file.getvalue()
