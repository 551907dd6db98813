"""Measures some of the losses again that a grade rests on: of an answer without somebody, or under a half's model.

Which, a seed draws (`openledger.spot_check`), of those of answers whose traces are published: a private answer has only
who paid. Believed here: that the published displacements are what training again gave, which takes training again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openledger import answer_audit, spot_check
from openledger import receipt as receipts
from openledger import trace as traces
from openledger.artifacts import ArtifactStore
from openledger.evidence import Tolerance
from openledger.grade import Grade
from openledger.influence.index import ContributionIndex
from openledger.split import NAT

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer


_PRIVATE = "are of private answers, whose traces only who paid has"


class Loss(NamedTuple):
    """A loss that was measured: of the answer under its adapter less one of its displacements.

    rise: above the receipt's, in 2**-64 nat per token. displaced: SHA-256 of an index of displacements; name: whose
    row, a contributor's who is left out or a half's number. digest: of all of that. public: whether everybody must have
    the answer's trace, so that anybody can measure it again.
    """

    digest: str
    receipt: str
    displaced: str
    name: str
    rise: int
    public: bool


@dataclass(frozen=True)
class Remeasured:
    """So many of `of` losses were measured again; which were wrong, and why. At most `at_most` of all are.

    private: losses beside them of private answers, which were not drawn.
    """

    drawn: int
    of: int
    wrong: tuple[str, ...]
    at_most: int
    confidence: int
    private: int

    def words(self) -> str:
        """In a sentence."""
        if not self.of:
            return f"none of the {self.private} losses that it rests on can be measured again here: all {_PRIVATE}"
        found = f"{self.drawn} of the {self.of} losses that it rests on, measured again: {len(self.wrong)} wrong"
        if self.wrong:
            found += f" ({'; '.join(self.wrong[:3])})"
        found += f"; with a confidence of {self.confidence} % at most {self.at_most} of all are wrong"
        return found + (
            f", but for {self.private} more, of which nothing is said: they {_PRIVATE}" if self.private else ""
        )


def losses(grade: Grade, artifacts: ArtifactStore) -> Iterator[Loss]:
    """All that a grade rests on.  Raises `ValueError` for documents that cannot be read."""
    for digest in grade.documents:
        audit = answer_audit.parse(artifacts.get(digest))
        public = receipts.parse(artifacts.get(audit.receipt_sha256)).published
        for index, rises in ((audit.index, audit.rises), (audit.halves_index, audit.halves)):
            for name, rise in rises.items():
                place = hashlib.sha256(f"{digest}/{index}/{name}".encode()).hexdigest()
                yield Loss(place, audit.receipt_sha256, index, name, rise, public)


def remeasure(
    grade: Grade,
    artifacts: ArtifactStore,
    scorer: Scorer,
    adapter: Path,
    seed: bytes,
    budget: int,
    confidence: int = 95,
) -> Remeasured:
    """Measure `budget` of the public ones again, or all; a forward pass each.

    adapter: the revision's PEFT folder. Raises `ValueError` for documents, or files that they name, that are no such,
    and for a trace that is published and not there.
    """
    found = list(losses(grade, artifacts))
    if not found:
        raise ValueError("the grade rests on no measurement")
    public = [loss for loss in found if loss.public]
    drawn = spot_check.by_number(public, seed, budget)
    wrong = tuple(why for why in (_wrong(loss, artifacts, scorer, adapter) for loss in drawn) if why)
    doubt = Fraction(100 - confidence, 100)
    most = spot_check.most_wrong(len(public), len(drawn), len(wrong), doubt)
    return Remeasured(len(drawn), len(public), wrong, most, confidence, len(found) - len(public))


def _wrong(loss: Loss, artifacts: ArtifactStore, scorer: Scorer, adapter: Path) -> str:
    """Why it is wrong; empty where it is not."""
    receipt = receipts.parse(artifacts.get(loss.receipt))
    answered = traces.parse(artifacts.get(receipt.trace_sha256))
    index = ContributionIndex.open(artifacts.path(loss.displaced))
    people = index.header.contributors
    row = people.index(loss.name) if loss.name in people else -1 if people else int(loss.name)
    if not 0 <= row < index.header.rows:
        raise ValueError(f"the index {loss.displaced} has no row of {loss.name}")
    asked, said = answered.prompt_token_ids, answered.completion_token_ids
    (found,) = scorer.losses_without(adapter, [index.row(row)], asked, said)
    claimed = receipt.evidence.nll_model + loss.rise
    if abs(found - claimed) <= Tolerance().nll:
        return ""
    less = loss.name if people else f"whoever is not in half {loss.name}"
    return f"the loss of {receipt.response} without {less} is {claimed / NAT:.9g} nat, measured again {found / NAT:.9g}"
