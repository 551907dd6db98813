"""What the checks of an epoch are given, and hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from openledger.epoch.books import Journal
from openledger.epoch.bundle import Bundle, Folder
from openledger.epoch.report import need


@dataclass(frozen=True)
class Derived:
    """What follows from the receipts: fees, settlements' journals by key, what accounts earned, receipts' digests.

    `corrections` are the journals that take an answer's back, by key, each with the number of that one.
    """

    fees: int
    settlements: dict[str, Journal]
    corrections: dict[str, tuple[int, Journal]]
    earned: dict[str, int]
    digests: list[bytes]


class Leaf(NamedTuple):
    """What an account was promised before and is now, and what it had earned beyond that then and has now."""

    before: int
    waited: int
    cumulative: int
    waiting: int

    @property
    def due(self) -> int:
        """What it has earned beyond what it was promised before."""
        return self.cumulative + self.waiting - self.before


@dataclass
class Case:
    """What is given, and what the checks have established so far."""

    folder: Folder
    digest: str
    signers: frozenset[str]
    alone: bool
    bundle: Bundle | None = None
    answers: set[bytes] | None = field(default=None, repr=False)
    corrected: dict[str, dict[str, str]] | None = None
    derived: Derived | None = None
    leaves: dict[str, Leaf] | None = field(default=None, repr=False)

    @property
    def given(self) -> Bundle:
        """The bundle, once its files are known to be whole."""
        return need(self.bundle, "files that are what the manifest says")

    @property
    def followed(self) -> Derived:
        """What follows from the receipts, once they are known to hold."""
        return need(self.derived, "receipts that hold")

    @property
    def answered(self) -> set[bytes]:
        """The epoch's answers, as `receipts.answer` tells them apart, once each is known to have one receipt."""
        return need(self.answers, "receipts that are signed, each of another answer")

    @property
    def taken_back(self) -> dict[str, dict[str, str]]:
        """The signed documents by which journals were taken back, by those journals' keys."""
        return need(self.corrected, "corrections that can be read")

    @property
    def sound(self) -> dict[str, Leaf]:
        """The leaves by account, once they are known to follow from the journals."""
        return need(self.leaves, "leaves that can be read")
