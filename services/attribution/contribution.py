"""What a contributor has of a model's answers: money and scores, added up over some receipts.

Amounts are those of the receipts: provisional by rule where they are for training, final where they are for records
before the question (`openledger.split`).  Knows no caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openledger import receipt as receipts
from openledger.split import NAT, RETRIEVAL


@dataclass(frozen=True)
class Contribution:
    """Amounts in atomic units, scores in nats per token."""

    answers: int = 0
    """Of the model."""
    paid_answers: int = 0
    amount: int = 0
    """For what the model was trained on."""
    records_amount: int = 0
    """For records before the question."""
    contributors_amount: int = 0
    """For what the model was trained on, of all contributors."""
    fees: int = 0
    score: float = 0.0
    positive_scores: float = 0.0
    """Of all contributors."""


def add_up(documents: Iterable[bytes], revision: str, contributor: str) -> Contribution:
    """contributor: lower-case address.  Receipts of other models are passed over."""
    answers = paid = amount = for_records = all_amounts = fees = score = positive = 0
    for document in documents:
        found = receipts.parse(document)
        if found.model.adapter != revision:
            continue
        answers += 1
        fees += found.fee
        own, of_records = found.shares.get(contributor, 0), found.shares.get(f"{RETRIEVAL}:{contributor}", 0)
        paid += own + of_records > 0
        amount += own
        for_records += of_records
        scores = found.evidence.scores
        all_amounts += sum(found.shares.get(who, 0) for who in scores)
        score += scores.get(contributor, 0)
        positive += sum(each for each in scores.values() if each > 0)
    return Contribution(answers, paid, amount, for_records, all_amounts, fees, score / NAT, positive / NAT)
