"""What the checks of an epoch are given, and hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from openledger.epoch.books import Journal
from openledger.epoch.bundle import Bundle
from openledger.epoch.report import need


@dataclass(frozen=True)
class Derived:
    """What follows from the receipts: fees, settlements' journals by key, what accounts earned, receipts' digests."""

    fees: int
    settlements: dict[str, Journal]
    earned: dict[str, int]
    digests: list[bytes]


@dataclass
class Case:
    """What is given, and what the checks have established so far."""

    folder: Path
    digest: str
    signers: frozenset[str]
    alone: bool
    bundle: Bundle | None = None
    derived: Derived | None = None
    leaves: dict[str, tuple[int, int]] | None = field(default=None, repr=False)

    @property
    def given(self) -> Bundle:
        """The bundle, once its files are known to be whole."""
        return need(self.bundle, "files that are what the manifest says")

    @property
    def followed(self) -> Derived:
        """What follows from the receipts, once they are known to hold."""
        return need(self.derived, "receipts that hold")

    @property
    def sound(self) -> dict[str, tuple[int, int]]:
        """Account to what it had before and has now, once the leaves are known to follow from the journals."""
        return need(self.leaves, "leaves that can be read")
