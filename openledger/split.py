"""From scores to money: who gets which part of the fees.  Pure integers, order-free, and the sum is exact.

It does not know where scores come from, nor who is behind an address.

The rule, for an answer with fee F, of which the platform's fee is P:
1. F - P is divided among developer, stakers and the contributors' pool by basis points.
2. The base model is paid first, and by measure: with g = NLL under the base - NLL under the tuned model (nats per
   token of the answer), exp(-g) is how probable the base alone finds the answer, per token, relative to the tuned
   model.  That part of the pool is `base`'s.  An adapter that changed nothing (g <= 0) leaves it the whole pool.
3. The rest belongs to the data.  A contributor's score is the estimated rise of the answer's NLL had the contributor
   not been there.  A positive score's credit is its part of all positive scores, times the money.  A negative score is
   a negative credit; all of an answer's together are at most its money.  Where the model's audit says that scores are
   not to be believed altogether, credits are that much smaller.
4. Scores are estimates.  As much of an answer's money is in doubt as its scores' standard errors are, together, of its
   positive scores; at most all of it.
5. Credits and doubts are summed over the answers that are settled together: one, for what a receipt says
   provisionally; all of a model's in an epoch, for what is final.  Whose sum is positive has it, less z times the
   doubt, which comes off everybody in proportion; and at most the cap.
6. What is left of the money is `unattributed`: it belongs to nobody until governance says otherwise.
7. Whole units go out by largest remainder, ties in the order of the keys.
8. Where records stood before the question, the base model alone is one without them, too, so g is the gain of tuning
   and records together.  What is not the base's is divided between the two by what each brings, in the mean of both
   orders; a contributor's part of the records' money is how much its records are missed (`Retrieval`).  That is
   measured and not estimated: no noise is taken off, it is not settled with other answers, and is final at once.

Who asks for answers of its own data gets back no more than it paid, whatever was measured of them: their positive
credits together are at most their money, and they raise the doubt.  Others lose by an answer at most 2 + z times its
money.  Accounts whose scores have one sign have together what they would have as one; where they have not, keeping
apart what hurts brings something (docs/attacks.md).  Why so: docs/adr/0038-doubt.md.

Sources: research on payment rules (Quotient semivalues 2605.07663 for paying by evidence, "What's a Credit Worth?"
2026 for moving noisy pay away from names); the base rule is ours, see docs/adr/0005-base-share.md, and so is netting,
see docs/adr/0026-netting.md.  Of records before the question: docs/adr/0035-retrieval.md; the mean of both orders is
Shapley's value (1953) of two players.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from openledger import canonical

NAT = 2**64
"""Scores and losses are integers in units of 2**-64 nat."""

BASIS_POINTS = 10_000
BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS = "base", "unattributed", "platform", "developer", "stakers"
DATA = "data"
"""What belongs to contributors and to `unattributed` together; no share key."""
RETRIEVAL = "retrieval"
"""What belongs to records before the question; with a colon and an address or `unattributed`, a share key of it."""
NAMED = frozenset({BASE, UNATTRIBUTED, PLATFORM, DEVELOPER, STAKERS})
"""Share keys that are not contributors' addresses."""

_ONE = 10**18  # fixed point of the base model's part
# Decimal's exp is correctly rounded: the same on every machine, if every step is taken in a context of our own.
_EXP = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[])


@dataclass(frozen=True)
class Rule:
    """The published parameters of a split.  `digest` names them in every receipt.

    `noise_z_milli`: how many thousandths of the doubt are taken off.  `cap_bps`: the most that one contributor gets of
    what belongs to the data.  `floor_milli`: below this agreement, in thousandths, a model's scores are believed in
    part (`openledger.grade`).
    """

    developer_bps: int = 2_000
    stakers_bps: int = 1_000
    noise_z_milli: int = 100
    cap_bps: int = BASIS_POINTS
    floor_milli: int = 500

    def __post_init__(self) -> None:
        if any(type(value) is not int for value in self.to_json().values()):
            raise ValueError("the parameters of a split are whole numbers")
        if min(self.to_json().values()) < 0:
            raise ValueError("the parameters of a split are not negative")
        if self.developer_bps + self.stakers_bps > BASIS_POINTS:
            raise ValueError("developer and stakers together get more than everything")
        if self.cap_bps > BASIS_POINTS:
            raise ValueError("one contributor gets more than everything")
        if self.floor_milli > 1_000:
            raise ValueError("more agreement than there can be is asked for: the parameters of a split")

    def to_json(self) -> dict[str, int]:
        """The parameters as a JSON object."""
        return asdict(self)

    def digest(self) -> str:
        """Hex SHA-256 of the canonical parameters."""
        return canonical.digest(self.to_json())


@dataclass(frozen=True)
class Retrieval:
    """What records before the question did for an answer; in units of 2**-64 nat per token of the answer.

    `nll_base` and `nll_model` are losses without any record, `scores` by how much the tuned model's loss rises without
    a contributor's (lower-case address).
    """

    nll_base: int
    nll_model: int
    scores: Mapping[str, int]


@dataclass(frozen=True)
class Evidence:
    """What was measured of one answer; all in units of 2**-64 nat per token of the answer.

    `scores` has one entry a contributor (lower-case address), `errors` the standard error of each, `placebos` the
    scores of contributors that were not there: nobody is paid by them, they show what noise scores.  `trust_bps` is
    not measured of the answer but of its model: how far its scores are believed (`openledger.grade`).  `retrieval`:
    None where no record stood before the question.
    """

    nll_base: int
    nll_model: int
    scores: Mapping[str, int]
    placebos: Sequence[int]
    errors: Mapping[str, int]
    trust_bps: int = BASIS_POINTS
    retrieval: Retrieval | None = None

    def check(self) -> None:
        """Raises `ValueError` where scores and errors are not of the same contributors."""
        people = self.scores.keys() | (self.retrieval.scores.keys() if self.retrieval else set())
        if NAMED & people:
            raise ValueError(f"not a contributor's address: {sorted(NAMED & people)}")
        if self.errors.keys() != self.scores.keys() or any(error < 0 for error in self.errors.values()):
            raise ValueError("every score needs a standard error, which is not negative")
        if not 0 <= self.trust_bps <= BASIS_POINTS:
            raise ValueError(f"scores cannot be believed to {self.trust_bps} basis points")


@dataclass(frozen=True)
class Answer:
    """What an answer brings into the settlement of its model: the money that belongs to the data, and the evidence."""

    amount: int
    evidence: Evidence


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


def divide(pool: int, evidence: Evidence) -> dict[str, int]:
    """What of an answer's pool is the base model's, the data's and the records': by `base`, `data` and `retrieval`."""
    tuning, records = _brought(evidence)
    alone = evidence.retrieval.nll_base if evidence.retrieval else evidence.nll_base
    gain = max(0, alone - evidence.nll_model)
    base = int(_EXP.to_integral_value(_EXP.scaleb(_EXP.exp(_EXP.divide(Decimal(-gain), Decimal(NAT))), 18)))
    others = _ONE - base
    return allocate(pool, {BASE: base * (tuning + records), DATA: others * tuning, RETRIEVAL: others * records})


def _brought(evidence: Evidence) -> tuple[int, int]:
    """In what proportion tuning and records made the answer likelier; neither is negative, and not both are zero."""
    without = evidence.retrieval
    if without is None:
        return 1, 0
    # Each in the mean of both orders: before the other and after it.
    tuning = without.nll_base - without.nll_model + evidence.nll_base - evidence.nll_model
    records = without.nll_base - evidence.nll_base + without.nll_model - evidence.nll_model
    if max(tuning, records) <= 0:
        return 1, 0  # then nothing was gained, and all is the base model's
    return max(0, tuning), max(0, records)


def retrieved(amount: int, evidence: Evidence, rule: Rule) -> dict[str, int]:
    """Who gets what of the records' money, by share key; the sum is exact.

    A contributor gets its score's part of all positive scores, or of what the records did together where that is more:
    what they do only in place of each other is nobody's, and no irrelevant record comes into it.
    """
    without = evidence.retrieval
    if without is None or not amount:
        return {}
    positive = {who: score for who, score in without.scores.items() if score > 0}
    whole = max(1, sum(positive.values()), without.nll_model - evidence.nll_model)
    cap = whole * rule.cap_bps // BASIS_POINTS
    weights = {f"{RETRIEVAL}:{who}": min(cap, score) for who, score in positive.items()}
    weights[f"{RETRIEVAL}:{UNATTRIBUTED}"] = whole - sum(weights.values())
    return allocate(amount, weights)


def payee(key: str) -> str | None:
    """The address of the contributor that a share is for, for training or for records; None of any other share."""
    kind, colon, who = key.rpartition(":")
    return None if who in NAMED or (colon and kind != RETRIEVAL) else who


def waiting(shares: Mapping[str, int]) -> int:
    """What of an answer's shares is provisional, and settled with other answers."""
    final = NAMED - {UNATTRIBUTED}
    return sum(amount for key, amount in shares.items() if key not in final and not key.startswith(f"{RETRIEVAL}:"))


def settle(answers: Iterable[Answer], rule: Rule) -> dict[str, int]:
    """What belongs to the data in some answers of one model, by address and `unattributed`; the sum is exact.

    The order of answers does not matter.  Raises `ValueError` for evidence that does not fit together.
    """
    net = Net()
    for answer in answers:
        net.add(answer)
    return net.settled(rule)


class Net:
    """Answers of one model that are settled together, added one by one.

    `credits`, by contributor, and `doubt` are in 2**-64 units of money, summed over answers.
    """

    def __init__(self) -> None:
        self._total = 0
        self.credits: dict[str, int] = {}
        self.doubt = 0

    def settled(self, rule: Rule) -> dict[str, int]:
        """What belongs to the data in all of them, by address and `unattributed`; the sum is exact."""
        if not self._total:
            return {}
        positive = {who: credit for who, credit in self.credits.items() if credit > 0}
        credited = sum(positive.values())
        certain = max(0, credited - -(-rule.noise_z_milli * self.doubt // 1000))
        cap = self._total * NAT * rule.cap_bps // BASIS_POINTS
        weights = {who: min(cap, credit * certain // credited) for who, credit in positive.items()}
        weights[UNATTRIBUTED] = self._total * NAT - sum(weights.values())
        return allocate(self._total, weights)

    def add(self, answer: Answer) -> None:
        """Add what an answer gives.  Raises `ValueError` for evidence that does not fit together."""
        evidence = answer.evidence
        self._total += answer.amount
        evidence.check()
        gains = sum(score for score in evidence.scores.values() if score > 0)
        if not gains:
            return
        losses = max(gains, -sum(score for score in evidence.scores.values() if score < 0))
        believed = answer.amount * evidence.trust_bps * NAT
        for who, score in evidence.scores.items():
            credit = believed * score // ((gains if score > 0 else losses) * BASIS_POINTS)
            self.credits[who] = self.credits.get(who, 0) + credit
        self.doubt += -(-believed * min(gains, sum(evidence.errors.values())) // (gains * BASIS_POINTS))


def split_fee(fee: int, platform_fee: int, evidence: Evidence, rule: Rule) -> dict[str, int]:
    """Every unit of `fee` by share key: `platform`, `developer`, `stakers`, `base`, `unattributed` and addresses.

    And `retrieval:` with an address or `unattributed`, where records stood before the question.
    What belongs to the data is settled as if there were this answer alone.
    Raises `ValueError` when the fee is smaller than the platform's part, or for evidence that does not fit together.
    """
    if not 0 <= platform_fee <= fee:
        raise ValueError(f"a fee of {fee} cannot hold a platform fee of {platform_fee}")
    evidence.check()
    pool_bps = BASIS_POINTS - rule.developer_bps - rule.stakers_bps
    shares = allocate(fee - platform_fee, {DEVELOPER: rule.developer_bps, STAKERS: rule.stakers_bps, "pool": pool_bps})
    shares |= divide(shares.pop("pool", 0), evidence)
    shares |= retrieved(shares.pop(RETRIEVAL, 0), evidence, rule)
    shares |= settle([Answer(shares.pop(DATA, 0), evidence)], rule)
    if platform_fee:
        shares[PLATFORM] = platform_fee
    return dict(sorted(shares.items()))
