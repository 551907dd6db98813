"""The split and the Merkle root written a second time, from docs/receipts.md and RFC 6962, in fractions and recursion.

Shares no code with ``openledger``.  Slow, and plain.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

NAT = 2**64
WHOLE = 10_000


def share_out(total: int, parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Largest remainder; the parts are fractions of the total and sum to one."""
    exact = {key: total * part for key, part in parts.items()}
    given = {key: math.floor(amount) for key, amount in exact.items()}
    left = total - sum(given.values())
    for key in sorted(exact, key=lambda k: (given[k] - exact[k], k))[:left]:
        given[key] += 1
    return {key: amount for key, amount in given.items() if amount}


def falls(nats: Fraction) -> Fraction:
    """exp(-nats) to 18 decimals: its series, halved until it converges fast and squared back."""
    halvings = 8
    x, term, total = -nats / 2**halvings, Fraction(1), Fraction(0)
    for n in range(1, 60):
        total += term
        term *= x / n
    for _ in range(halvings):
        total = Fraction(round(total**2 * 10**60), 10**60)
    return Fraction(round(total * 10**18), 10**18)


def credit_of(money: Fraction, gains: int, losses: int, score: int) -> int:
    """What a score is worth of an answer's money, in 2**-64 units."""
    return math.floor(money * NAT * score / (gains if score > 0 else losses))


def settled(answers: Sequence[tuple[int, Mapping[str, Any]]], rule: Mapping[str, int]) -> dict[str, int]:
    """(money of the data, evidence of a receipt document) of one model's answers -> who gets what."""
    total = sum(money for money, _ in answers)
    people = sorted({who for _, evidence in answers for who in evidence["scores"]})
    credit, doubt = dict.fromkeys(people, 0), 0
    for money, evidence in answers:
        scores = {who: int(score) for who, score in evidence["scores"].items()}
        gains = sum(max(0, s) for s in scores.values())
        losses = sum(max(0, -s) for s in scores.values())
        if gains == 0:
            continue
        believed = Fraction(money * evidence["trust_bps"], WHOLE)
        for who, score in scores.items():
            credit[who] += credit_of(believed, gains, max(gains, losses), score)
        errors = sum(int(error) for error in evidence["errors"].values())
        doubt += math.ceil(believed * NAT * min(Fraction(1), Fraction(errors, gains)))
    if not total:
        return {}
    credited = sum(max(0, c) for c in credit.values())
    sure = max(0, credited - math.ceil(Fraction(rule["noise_z_milli"] * doubt, 1000)))
    most = math.floor(Fraction(total * NAT * rule["cap_bps"], WHOLE))
    paid = {who: min(most, math.floor(Fraction(c * sure, credited))) for who, c in credit.items() if c > 0}
    parts = {who: Fraction(amount, total * NAT) for who, amount in paid.items()}
    return share_out(total, parts | {"unattributed": 1 - sum(parts.values())})


def is_public(document: Mapping[str, Any]) -> bool:
    """Whether the trace of a receipt document must be there for everybody."""
    return bool(
        document.get("published", document["version"] in {f"openledger.receipt.v{number}" for number in (4, 5)})
    )


def shares(document: Mapping[str, Any]) -> dict[str, int]:
    """The shares of a receipt document, from its other fields."""
    rule, evidence = document["rule"], document["evidence"]
    fee, platform = int(document["fee"]), int(document["platform_fee"])
    developer, stakers = Fraction(rule["developer_bps"], WHOLE), Fraction(rule["stakers_bps"], WHOLE)
    found = share_out(fee - platform, {"developer": developer, "stakers": stakers, "pool": 1 - developer - stakers})
    pool = found.pop("pool", 0)
    without = document.get("retrieval", evidence)
    base = falls(Fraction(max(0, int(without["nll_base"]) - int(evidence["nll_model"])), NAT))
    read = part_of_records(document)
    found |= share_out(pool, {"base": base, "data": (1 - base) * (1 - read), "retrieval": (1 - base) * read})
    found |= of_records(found.pop("retrieval", 0), document)
    found |= settled([(found.pop("data", 0), evidence)], rule)
    return found | ({"platform": platform} if platform else {})


def part_of_records(document: Mapping[str, Any]) -> Fraction:
    """Of what is not the base model's: Shapley's value of reading, in a game of reading and tuning."""
    if "retrieval" not in document:
        return Fraction(0)
    with_records, without = document["evidence"], document["retrieval"]
    worth = {
        "": 0,
        "read": int(without["nll_base"]) - int(with_records["nll_base"]),
        "tune": int(without["nll_base"]) - int(without["nll_model"]),
        "both": int(without["nll_base"]) - int(with_records["nll_model"]),
    }
    read = max(Fraction(0), Fraction(worth["read"] - worth[""] + worth["both"] - worth["tune"], 2))
    tune = max(Fraction(0), Fraction(worth["tune"] - worth[""] + worth["both"] - worth["read"], 2))
    return read / (read + tune) if read + tune else Fraction(0)


def of_records(money: int, document: Mapping[str, Any]) -> dict[str, int]:
    """The records' money."""
    if money == 0:
        return {}
    missed = {who: max(0, int(score)) for who, score in document["retrieval"]["scores"].items()}
    together = int(document["retrieval"]["nll_model"]) - int(document["evidence"]["nll_model"])
    whole = max(1, together, sum(missed.values()))
    most = math.floor(Fraction(whole * document["rule"]["cap_bps"], WHOLE))
    parts = {f"retrieval:{who}": Fraction(min(score, most), whole) for who, score in missed.items()}
    return share_out(money, parts | {"retrieval:unattributed": 1 - sum(parts.values(), Fraction(0))})


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + merkle_root(leaves[:k]) + merkle_root(leaves[k:])).digest()
