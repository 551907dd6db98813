"""Statistics of whole numbers in whole numbers: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt


def root_of_ratio(above: int, below: int) -> int:
    """The square root of ``above / below``, rounded up; ``below`` is positive."""
    square = -(-above // below)
    return isqrt(square - 1) + 1 if square else 0


def root_mean_square(values: Sequence[int]) -> int:
    """Rounded up; 0 of nothing."""
    return root_of_ratio(sum(value * value for value in values), max(1, len(values)))
