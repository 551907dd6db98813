"""A receipt's numbers in words: who is paid how much of an answer's fee, and why.  A pure function of the receipt.

Says nothing that is not in the receipt, and computes nothing that is paid by: the split does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from openledger import split
from openledger.evidence import BASE as BASE_METHOD
from openledger.integers import root_mean_square
from openledger.money import format_open
from openledger.receipt import Receipt
from openledger.split import BASIS_POINTS, NAT, Retrieval


@dataclass(frozen=True)
class Share:
    """A share of the fee.  amount: atomic units; score: nats per token, of a contributor; errors: standard errors."""

    key: str
    amount: int
    words: str
    score: float = 0.0
    errors: float | None = None


def summary(receipt: Receipt) -> tuple[str, ...]:
    """What holds for all of a receipt, a sentence each."""
    whose = _read(receipt, receipt.evidence.retrieval) if receipt.evidence.retrieval else (_base(receipt),)
    return (_fee(receipt), *whose, *_noise(receipt), _provisional())


def shares(receipt: Receipt) -> tuple[Share, ...]:
    """Every share with its reason, the largest first."""
    ordered = sorted(receipt.shares.items(), key=lambda share: (-share[1], share[0]))
    return tuple(_share(receipt, key, amount) for key, amount in ordered)


def _pool(receipt: Receipt) -> int:
    others = (split.PLATFORM, split.DEVELOPER, split.STAKERS)
    return receipt.fee - sum(receipt.shares.get(key, 0) for key in others)


def _fee(receipt: Receipt) -> str:
    rule = receipt.rule
    return (
        f"The answer cost {format_open(receipt.fee)} OPEN. Of it {format_open(receipt.platform_fee)} is the platform's "
        f"fee; of the rest {_bps(rule.developer_bps)} is the developer's and {_bps(rule.stakers_bps)} the stakers'. "
        f"{format_open(_pool(receipt))} OPEN is left for the base model and the data."
    )


def _read(receipt: Receipt, without: Retrieval) -> Iterator[str]:
    """Where records stood before the question."""
    evidence, count = receipt.evidence, sum(score > 0 for score in without.scores.values())
    yield (
        f"Records stood before the question, and those of {count} contributor{'s' * (count != 1)} are missed. How "
        "much each is missed is measured by taking them out; nobody is paid by an estimate for them, so these shares "
        "are final at once."
    )
    if without.nll_base <= evidence.nll_model:
        yield (
            "The base model alone, without the records, finds the answer's tokens as probable as they were with them: "
            "nothing was gained, so all that is left is the base model's."
        )
        return
    base = split.divide(10**9, evidence).get(split.BASE, 0) / 10**7
    records = sum(amount for key, amount in receipt.shares.items() if key.startswith(f"{split.RETRIEVAL}:"))
    data = _pool(receipt) - receipt.shares.get(split.BASE, 0) - records
    yield (
        f"The base model alone, without the records, finds a token of the answer {base:.2f} % as probable as it "
        f"was, so {format_open(receipt.shares.get(split.BASE, 0))} OPEN is the base model's. "
        f"{format_open(records)} OPEN is the records' and {format_open(data)} OPEN the training data's, by how much "
        "either makes the answer more probable, without the other and with it."
    )


def _base(receipt: Receipt) -> str:
    if receipt.method == BASE_METHOD:
        return "The base model answered alone, without an adapter, so all that is left is the base model's."
    evidence, amount = receipt.evidence, receipt.shares.get(split.BASE, 0)
    if evidence.nll_base <= evidence.nll_model:
        return (
            "The tuned model finds the answer's tokens no more probable than the base model alone does: the data "
            "changed nothing for the better here, so all that is left is the base model's."
        )
    part, pool = split.divide(10_000, evidence).get(split.BASE, 0), _pool(receipt)
    return (
        f"The base model alone finds a token of the answer {part / 100:.2f} % as probable as the tuned model does, so "
        f"{format_open(amount)} OPEN is the base model's, and {format_open(pool - amount)} belongs to the data."
    )


def _noise(receipt: Receipt) -> Iterator[str]:
    evidence = receipt.evidence
    if not evidence.scores:
        return
    gains, errors = sum(s for s in evidence.scores.values() if s > 0), sum(evidence.errors.values())
    if gains:
        doubt = min(1.0, errors / gains)
        yield (
            f"Scores are estimates: their standard errors are together {doubt:.0%} of the positive scores, and "
            f"{receipt.rule.noise_z_milli / 1000:g} times that is taken off what the data gets, from everybody in "
            "proportion."
        )
    if evidence.placebos:
        count, size = len(evidence.placebos), _nats(root_mean_square(evidence.placebos))
        yield (
            f"Contributors that do not exist score {size} nat per token here ({count} placebo{'s' * (count > 1)}). "
            "Nobody is paid by that; it says what nothing scores."
        )
    if evidence.trust_bps != BASIS_POINTS:
        yield (
            f"The model's audit found that its scores disagree with really leaving contributors out, so only "
            f"{_bps(evidence.trust_bps)} of the data's part is divided by them."
        )


def _provisional() -> str:
    return (
        "The contributors' shares are provisional: they take this answer as if it were the only one. What is paid is "
        "settled over all of a model's answers in an epoch: negative credits count against positive ones."
    )


def _share(receipt: Receipt, key: str, amount: int) -> Share:
    evidence, rule = receipt.evidence, receipt.rule
    if key in evidence.scores:
        score, error = evidence.scores[key], evidence.errors[key]
        errors = score / error if error else None
        return Share(key, amount, _contributor(receipt, key, errors), score / NAT, errors)
    who = split.payee(key)
    if evidence.retrieval and who:
        missed = evidence.retrieval.scores[who]
        told = f"without its records before the question a token of the answer would be {_nats(missed)} nat less"
        return Share(key, amount, f"{told} probable", missed / NAT)
    reasons = {
        split.BASE: "what the base model alone would have said just as well",
        split.UNATTRIBUTED: "belongs to the data, and is noise, above the cap, or not believed: nobody's until "
        "governance says otherwise",
        split.PLATFORM: "the platform's fee",
        split.DEVELOPER: f"{_bps(rule.developer_bps)} of the fee less the platform's, for whoever tuned the model",
        split.STAKERS: f"{_bps(rule.stakers_bps)} of the fee less the platform's, for those who stake on it",
        f"{split.RETRIEVAL}:{split.UNATTRIBUTED}": "what records before the question do only together or in place of "
        "each other, or is above the cap: nobody's until governance says otherwise",
    }
    return Share(key, amount, reasons[key])


def _contributor(receipt: Receipt, who: str, errors: float | None) -> str:
    evidence, rule = receipt.evidence, receipt.rule
    score = evidence.scores[who]
    positive = sum(other for other in evidence.scores.values() if other > 0)
    told = (
        f"without its records a token of the answer would be {_nats(score)} nat less probable: "
        f"{score / positive:.1%} of what all contributors' records did for it"
    )
    if errors is not None:
        told += f", and {errors:.1f} of its standard errors"
    if rule.cap_bps < BASIS_POINTS:
        told += f"; at most {_bps(rule.cap_bps)} of the data's part is paid to one"
    return told


def _nats(units: int) -> str:
    return f"{units / NAT:.4g}"


def _bps(basis_points: int) -> str:
    return f"{basis_points / 100:g} %"
