"""What taking a revision's trainings again has shown: what differs, and how many of those that were not drawn may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from openledger import spot_check
from openledger.manifest import LineageManifest
from openledger.retrained import Found
from services.factory import provenance
from services.factory.claims import NotTrained

RUN = "the run itself"
_MOST_NAMED = 5


@dataclass
class Verdict:
    """Filled as trainings are taken again.  seed: that draws; confidence: per cent."""

    lineage: LineageManifest
    seed: bytes
    confidence: int
    documents: list[str] = field(default_factory=list)
    """What documents say that cannot be."""
    unknown: list[str] = field(default_factory=list)
    """What could not be told, and why."""
    absent: list[str] = field(default_factory=list)
    """Contributors of whom records are not there."""
    run: list[Found] | None = None
    """Of the run itself; None where it was not taken again."""
    exact: bool = False
    """Whether this machine came to the adapter's own weights."""
    drawn: dict[str, list[Found]] = field(default_factory=dict)
    """By training."""
    of: int = 0
    """Trainings that were drawn from."""
    unfollowed: int = 0
    """Contributors whose row of the contribution index, by which they are paid, no training followed."""
    beyond: int = 0
    """Those that cannot be taken again here."""

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """While that is read, every byte of which its publisher chose: whatever comes of it counts as wrong.

        To withhold a file, or to publish what is none, would else be the way not to be checked.  Raises this machine's
        faults, and `NotTrained`.
        """
        try:
            yield
        except (NotTrained, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - libraries that parse raise anything
            told = str(error) if isinstance(error, ValueError) else repr(error)
            self.documents.append(f"{what} cannot be read: {told}")

    def trained(self, name: str, found: Iterable[Found]) -> None:
        """One training is taken again, or cannot be by no fault of this machine's."""
        if name == RUN:
            self.run = list(found)
        else:
            self.drawn[name] = list(found)

    @property
    def wrong(self) -> list[str]:
        """What differs, in words."""
        return [*self.documents, *(one.words() for one in self._found if one.wrong)]

    @property
    def odd(self) -> list[str]:
        """What is not wrong by that, and stands out, in words."""
        return [one.words() for one in self._found if one.odd and not one.wrong]

    @property
    def _found(self) -> list[Found]:
        return [*(self.run or []), *(one for some in self.drawn.values() for one in some)]

    @property
    def whole(self) -> bool:
        """Whether everything could be asked for, and nothing stands out."""
        return not (self.absent or self.beyond or self.unknown or self.odd)

    def at_most(self) -> int:
        """So many of those that were drawn from are wrong, with this confidence."""
        wrong = sum(any(one.wrong for one in some) for some in self.drawn.values())
        return spot_check.most_wrong(self.of, len(self.drawn), wrong, Fraction(100 - self.confidence, 100))

    def to_json(self) -> dict[str, Any]:
        """For whoever asked."""
        return {
            "ok": not self.wrong,
            "whole": self.whole,
            "checked": self.run is not None or bool(self.drawn),
            "revision": self.lineage.revision,
            "same_bytes": self.exact,
            "run": [asdict(one) for one in self.run or []],
            "drawn": {name: [asdict(one) for one in some] for name, some in self.drawn.items()},
            "of": self.of,
            "at_most": self.at_most(),
            "confidence": self.confidence,
            "beyond": self.beyond,
            "unfollowed": self.unfollowed,
            "absent": self.absent,
            "unknown": self.unknown,
            "odd": self.odd,
            "seed": self.seed.hex(),
            "wrong": self.wrong,
            "words": list(self.words()),
        }

    def words(self) -> Iterator[str]:
        """For people, a sentence each."""
        if self.run is not None:
            yield self._of_run(self.run)
        if self.absent:
            named = ", ".join(self.absent[:_MOST_NAMED]) + (" and others" if len(self.absent) > _MOST_NAMED else "")
            yield (
                f"Records of {named} are not here, as where they are erased: so the run itself, its adapter and what "
                "is paid by cannot be checked, only trainings without them; that says nothing against the revision."
            )
        if self.drawn:
            wrong = sum(any(one.wrong for one in some) for some in self.drawn.values())
            yield (
                f"Of {self.of} other trainings {len(self.drawn)} were taken again (drawn by {self.seed.hex()}): "
                f"{wrong} gave something else than is published; with a confidence of {self.confidence} % at most "
                f"{self.at_most()} of all do."
            )
        elif self.of:
            yield f"None of {self.of} other trainings was taken again: nothing is said of them."
        elif not self.documents:
            yield "No other training of it is published that could be taken again here."
        if self.unfollowed:
            people = len(self.lineage.contributors)
            yield (
                f"By what {self.unfollowed} of {people} contributors are paid was not looked at: their rows of the "
                "contribution index are of trainings that were not taken again."
            )
        if self.beyond:
            yield f"{self.beyond} more cannot be taken again here: nothing is said of them."
        yield from self.unknown
        if self.odd:
            yield (
                f"{len(self.odd)} stand out, and should be looked at on the provider's kind of machine before anybody "
                f"is accused: {'; '.join(self.odd[:_MOST_NAMED])}."
            )

    def _of_run(self, run: list[Found]) -> str:
        wrong = sum(bool(one.wrong) for one in run)
        rows = f"{len(run)} of its figures and rows were compared: {wrong} differ"
        if self.exact:
            return (
                "The run itself, taken again, comes to the adapter's very weights: this machine computes as the one "
                f"that made it, so all else must be the same byte for byte. {rows}."
            )
        code = "" if provenance.is_this(self.lineage.code) else " and other code"
        return (
            f"The run itself, taken again, does not come to the adapter's weights: on another kind of machine{code}, "
            f"rows are compared by their distance. {rows} by more than machines do."
        )
