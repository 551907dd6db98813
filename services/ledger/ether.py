"""What wei are worth in people's money, by a price that an operator set.  Pure; integers only."""

from __future__ import annotations

from dataclasses import dataclass

WEI = 10**18
MICRO = 10**6


@dataclass(frozen=True)
class Ether:
    """What an ether is worth, as the operator set it: a decimal with at most six places, and of which money."""

    price: str
    currency: str

    def worth(self, wei: int) -> str:
        """Of so much, to six decimals, rounded up."""
        whole, _, places = self.price.partition(".")
        micro = int(whole) * MICRO + int(places.ljust(6, "0"))
        found = -(-wei * micro // WEI)
        return f"{found // MICRO}.{found % MICRO:06d}"
