"""From scores to money: who gets which part of one answer's fee.  Pure integers, order-free, and the sum is exact.

It does not know where scores come from, nor who is behind an address.

The rule, for an answer with fee F, of which the platform's fee is P:
1. F - P is divided among developer, stakers and the contributors' pool by basis points.
2. The base model is paid first, and by measure: with g = NLL under the base - NLL under the tuned model (nats per
   token of the answer), exp(-g) is how probable the base alone finds the answer, per token, relative to the tuned
   model.  That part of the pool is `base`'s.  An adapter that changed nothing (g <= 0) leaves it the whole pool.
3. The rest belongs to the data, in proportion to the scores.  A contributor's score is the estimated rise of the
   answer's NLL had the contributor not been there; negative ones count as nothing.  Scores that noise alone could give
   (z times the root mean square of the placebos' scores) are not paid to anybody: their part is `unattributed`.
4. Whole units go out by largest remainder, ties in the order of the keys.

Sources: research on payment rules (Quotient semivalues 2605.07663 for paying by evidence, "What's a Credit Worth?"
2026 for moving noisy pay away from names); the base rule is ours, see docs/adr/0005-base-share.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from math import isqrt

from openledger import canonical

NAT = 2**64
"""Scores and losses are integers in units of 2**-64 nat."""

BASIS_POINTS = 10_000
BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS = "base", "unattributed", "platform", "developer", "stakers"
NAMED = frozenset({BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS})
"""Share keys that are not contributors' addresses."""

_ONE = 10**18  # fixed point of the base model's part
# Decimal's exp is correctly rounded: the same on every machine, if every step is taken in a context of our own.
_EXP = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[])


@dataclass(frozen=True)
class Rule:
    """The published parameters of a split.  `digest` names them in every receipt."""

    developer_bps: int = 2_000
    stakers_bps: int = 1_000
    noise_z_milli: int = 2_000

    def __post_init__(self) -> None:
        if any(type(value) is not int for value in self.to_json().values()):
            raise ValueError("the parameters of a split are whole numbers")
        if not (self.developer_bps >= 0 and self.stakers_bps >= 0 and self.noise_z_milli >= 0):
            raise ValueError("the parameters of a split are not negative")
        if self.developer_bps + self.stakers_bps > BASIS_POINTS:
            raise ValueError("developer and stakers together get more than everything")

    def to_json(self) -> dict[str, int]:
        """The parameters as a JSON object."""
        return asdict(self)

    def digest(self) -> str:
        """Hex SHA-256 of the canonical parameters."""
        return canonical.digest(self.to_json())


@dataclass(frozen=True)
class Evidence:
    """What was measured of one answer; all in units of 2**-64 nat per token of the answer.

    `scores` has one entry a contributor (lower-case address), `placebos` the scores of contributors that were not
    there.
    """

    nll_base: int
    nll_model: int
    scores: Mapping[str, int]
    placebos: Sequence[int]


def allocate(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` units in proportion to `weights` by largest remainder; entries of zero are left out.

    The sum is exact.  Raises `ValueError` for negative arguments or when no weight is positive.
    """
    if total < 0 or any(w < 0 for w in weights.values()):
        raise ValueError("neither an amount to divide nor a weight may be negative")
    everything = sum(weights.values())
    if everything == 0:
        raise ValueError("nothing to divide by: all weights are zero")
    parts = {key: divmod(total * weight, everything) for key, weight in weights.items()}
    amounts = {key: quotient for key, (quotient, _) in parts.items()}
    missing = total - sum(amounts.values())
    for key in sorted(parts, key=lambda k: (-parts[k][1], k))[:missing]:
        amounts[key] += 1
    return {key: amount for key, amount in sorted(amounts.items()) if amount}


def noise_threshold(placebos: Sequence[int], rule: Rule) -> int:
    """The score that noise alone could reach: z times the root mean square of the placebos' scores, rounded up."""
    if not placebos:
        return 0
    mean_square = -(-sum(p * p for p in placebos) // len(placebos))
    return -(-rule.noise_z_milli * (isqrt(mean_square) + 1) // 1000)


def pool_weights(evidence: Evidence, rule: Rule) -> dict[str, int]:
    """Integer weights of the contributors' pool: addresses, `base` and `unattributed`."""
    threshold = noise_threshold(evidence.placebos, rule)
    positive = {who: score for who, score in evidence.scores.items() if score > 0}
    gain = max(0, evidence.nll_base - evidence.nll_model)
    if gain == 0:
        return {BASE: 1}
    base = int(_EXP.to_integral_value(_EXP.scaleb(_EXP.exp(_EXP.divide(Decimal(-gain), Decimal(NAT))), 18)))
    everything = sum(positive.values())
    if not everything:
        return {BASE: base, UNATTRIBUTED: _ONE - base}
    counted = {who: score for who, score in positive.items() if score > threshold}
    weights = {who: (_ONE - base) * score for who, score in counted.items()}
    weights[BASE] = base * everything
    weights[UNATTRIBUTED] = (_ONE - base) * (everything - sum(counted.values()))
    return weights


def split_fee(fee: int, platform_fee: int, evidence: Evidence, rule: Rule) -> dict[str, int]:
    """Every unit of `fee` by share key: `platform`, `developer`, `stakers`, `base`, `unattributed` and addresses.

    Raises `ValueError` when the fee is smaller than the platform's part or a contributor's key is a reserved word.
    """
    if not 0 <= platform_fee <= fee:
        raise ValueError(f"a fee of {fee} cannot hold a platform fee of {platform_fee}")
    if NAMED & evidence.scores.keys():
        raise ValueError(f"not a contributor's address: {sorted(NAMED & evidence.scores.keys())}")
    pool_bps = BASIS_POINTS - rule.developer_bps - rule.stakers_bps
    parts = allocate(fee - platform_fee, {DEVELOPER: rule.developer_bps, STAKERS: rule.stakers_bps, "pool": pool_bps})
    shares = allocate(parts.pop("pool", 0), pool_weights(evidence, rule))
    shares.update(parts)
    if platform_fee:
        shares[PLATFORM] = platform_fee
    return dict(sorted(shares.items()))
