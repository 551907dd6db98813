"""How far a model's scores are believed: the grade that its audited answers give it, and what follows for the split.

A grade is a document, published under its SHA-256; receipts that are split by less than full belief name it.  Whole
numbers: correlations are in thousandths.  Nothing here measures anything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from openledger import canonical, names
from openledger.split import BASIS_POINTS, Rule

VERSION = "openledger.grade.v1"
FEWEST_ANSWERS = 20
"""Below, an interval over answers means little, and the scores are believed."""


@dataclass(frozen=True)
class Grade:
    """Rank correlation of paid scores with leaving contributors out: its mean over answers, and its 95 % interval.

    `documents`: SHA-256 of the answers' measurements (`openledger.answer_audit.v1`), which it is computed from.
    """

    revision: str
    mean_milli: int
    low_milli: int
    high_milli: int
    documents: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return asdict(self) | {"version": VERSION, "documents": list(self.documents)}

    def dumps(self) -> bytes:
        """Canonical bytes: what is published."""
        return canonical.dumps(self.to_json())

    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes."""
        return canonical.sha256(self.dumps())


def parse(data: bytes) -> Grade:
    """A grade from its canonical bytes.  Raises `ValueError` that says what is wrong with them."""
    try:
        document = canonical.loads(data)
        if document.pop("version") != VERSION:
            raise ValueError(f"not an {VERSION} document")
        grade = Grade(**document | {"documents": tuple(document["documents"])})
        numbers = (grade.mean_milli, grade.low_milli, grade.high_milli)
        if not all(type(number) is int and -1000 <= number <= 1000 for number in numbers):
            raise ValueError("correlations are whole thousandths from -1000 to 1000")
        names.match("adapters/*/revisions/*", grade.revision)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a grade: {error!r}") from error
    return grade


def trust_bps(grade: Grade | None, rule: Rule) -> int:
    """The part of what belongs to the data that is divided by the scores; the rest is `unattributed`.

    All of it, unless the whole interval lies below the rule's floor: then the mean's part of the floor.
    """
    if grade is None or len(grade.documents) < FEWEST_ANSWERS or grade.high_milli >= rule.floor_milli:
        return BASIS_POINTS
    return max(0, grade.mean_milli) * BASIS_POINTS // rule.floor_milli
