"""Computes some receipts again, drawn by a seed, and says what that says of all of them.

How one is checked is the caller's (`openledger.verify`), and so is that whoever made them could not know the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from openledger import spot_check
from openledger.money import format_open
from openledger.spot_check import PARTS, Item

FEWEST, MOST = 2, 10_000
"""Receipts that a sample may take."""


@dataclass(frozen=True)
class Population:
    """All receipts: `items` gives them anew each time, in one order; how many, and their fees in atomic units.

    private, private_fees: of receipts beside them whose traces are private, so that they are not drawn.
    """

    items: Callable[[], Iterable[Item]]
    count: int
    fees: int
    private: int = 0
    private_fees: int = 0

    @classmethod
    def of(cls, items: Callable[[], Iterable[Item]]) -> Population:
        """Counts them; all can be drawn."""
        return cls.of_public(lambda: ((item, True) for item in items()))

    @classmethod
    def of_public(cls, items: Callable[[], Iterable[tuple[Item, bool]]]) -> Population:
        """Counts those that are public, which is said of each, and those that are not."""
        counts, fees = [0, 0], [0, 0]
        for item, public in items():
            counts[public] += 1
            fees[public] += item.fee
        public_ones = (lambda: (item for item, public in items() if public), counts[True], fees[True])
        return cls(*public_ones, counts[False], fees[False])


@dataclass(frozen=True)
class Bound:
    """Of `drawn` so many were `wrong`; of everything, which is `of`, at most `at_most` is."""

    drawn: int
    wrong: int
    at_most: int
    of: int


@dataclass(frozen=True)
class Sample:
    """What was found. `wrong`: by receipt's SHA-256, why. `money` in millionths of the fees; None where there are none.

    Bounds hold together with `confidence` per cent; where all were `checked` they are what is the case.
    """

    population: Population = field(repr=False)
    checked: int
    wrong: dict[str, str]
    number: Bound
    money: Bound | None
    confidence: int

    @property
    def ok(self) -> bool:
        """Whether none was found that is wrong."""
        return not self.wrong

    def words(self) -> Iterator[str]:
        """In sentences."""
        count, fees = self.population.count, format_open(self.population.fees, 18)
        if self.population.private:
            cost = format_open(self.population.private_fees, 18)
            yield (
                f"Of {self.population.private} more receipts, which cost {cost} OPEN together, the traces are private: "
                "only who paid for those can have them computed again, and nothing here is said of them."
            )
        yield (
            f"{self.checked} of {count} receipts, which cost {fees} OPEN together, were computed again: "
            f"{len(self.wrong) or 'none'} of them {'are' if len(self.wrong) > 1 else 'is'} wrong."
        )
        if self.checked == count:
            yield f"That is all of them: {_percent(self.number)} are wrong, {_percent(self.money)} of the fees."
            return
        yield (
            f"By number {self.number.drawn} were drawn, {self.number.wrong} of them wrong: at most "
            f"{self.number.at_most} of all {count} are wrong ({_percent(self.number)})."
        )
        if self.money is not None:
            yield (
                f"By what they cost {self.money.drawn} were drawn, {self.money.wrong} of them wrong: at most "
                f"{_percent(self.money)} of the fees are in wrong receipts."
            )
        yield (
            f"Were more wrong than one of these bounds, more wrong ones would have been found, in {self.confidence} of "
            "100 such draws at least."
        )


def verify_sample(
    population: Population, seed: bytes, budget: int, confidence: int, check: Callable[[bytes], str]
) -> Sample:
    """Check `budget` of them, or all if there are not more: half drawn by number, half by what they cost.

    check: why a receipt is wrong, empty where it holds. confidence: in per cent, 1 to 99, of both bounds together.
    Raises `ValueError` for another budget or confidence, and where there are no receipts.
    """
    if not FEWEST <= budget <= MOST or not 1 <= confidence <= 99:
        raise ValueError(f"a budget is {FEWEST} to {MOST} receipts, a confidence 1 to 99 per cent")
    if not population.count:
        raise ValueError("there are no receipts to draw from")
    by_money = budget // 2 if population.fees and budget < population.count else 0
    by_number = min(budget, population.count) - by_money
    numbers = spot_check.by_number(population.items(), seed, by_number)
    units = spot_check.by_money(population.items(), population.fees, seed, by_money) if by_money else []
    why = {digest: check(data) for digest, data in {item.digest: item.data for item in (*numbers, *units)}.items()}
    wrong = {digest: reason for digest, reason in why.items() if reason}
    # Each bound may fail half as often as both together may.
    doubt = Fraction(100 - confidence, 200 if by_money else 100)
    number = _of_number(population, numbers, wrong, doubt)
    money = _of_units(units, wrong, doubt) if units else _of_all(population, numbers, wrong)
    return Sample(population, len(why), wrong, number, money, confidence)


def _of_number(population: Population, drawn: Sequence[Item], wrong: Container[str], doubt: Fraction) -> Bound:
    hits = sum(item.digest in wrong for item in drawn)
    most = spot_check.most_wrong(population.count, len(drawn), hits, doubt)
    return Bound(len(drawn), hits, most, population.count)


def _of_units(drawn: Sequence[Item], wrong: Container[str], doubt: Fraction) -> Bound:
    hits = sum(item.digest in wrong for item in drawn)
    return Bound(len(drawn), hits, spot_check.most_money(len(drawn), hits, doubt), PARTS)


def _of_all(population: Population, looked_at: Sequence[Item], wrong: Container[str]) -> Bound | None:
    """What is the case, where everything was looked at; None where nothing can be said of money."""
    if len(looked_at) < population.count or not population.fees:
        return None
    fees = [item.fee for item in looked_at if item.digest in wrong]
    return Bound(len(looked_at), len(fees), spot_check.spread(fees, population.fees), PARTS)


def _percent(bound: Bound | None) -> str:
    """Rounded up, so that it stays a bound."""
    if bound is None:
        return "0 %"
    hundredths = -(-bound.at_most * 10_000 // bound.of)
    return f"{hundredths // 100}.{hundredths % 100:02} %"
