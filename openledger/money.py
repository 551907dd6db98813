"""Money: integers of 10**-18 OPEN, their text forms, and the price of an answer.  No floats anywhere near it."""

from __future__ import annotations

import re
from dataclasses import dataclass

DECIMALS = 18
OPEN = 10**DECIMALS
"""One OPEN in atomic units."""

MAX_AMOUNT = 2**128 - 1
"""The largest amount the contracts take (`uint128`)."""

_ATOMIC = re.compile(r"(0|[1-9][0-9]{0,38})\Z")
_OPEN = re.compile(r"([0-9]{1,21})(?:\.([0-9]{1,18}))?\Z")


def parse_atomic(text: str) -> int:
    """Atomic units from their only accepted text form: decimal digits, no sign, no leading zero.

    Raises `ValueError` for anything else and for more than `MAX_AMOUNT`.
    """
    if not _ATOMIC.match(text) or int(text) > MAX_AMOUNT:
        raise ValueError(f"{text[:60]!r} is not an amount: whole atomic units as decimal digits, at most 2**128 - 1")
    return int(text)


def parse_open(text: str) -> int:
    """Atomic units from what people type: `"1.25"` OPEN.  Raises `ValueError` beyond 18 decimals or `MAX_AMOUNT`."""
    match = _OPEN.match(text.strip())
    if not match:
        raise ValueError(f"{text[:60]!r} is not an amount of OPEN: digits, and at most {DECIMALS} decimals")
    whole, fraction = match.groups()
    amount: int = int(whole) * OPEN + int((fraction or "").ljust(DECIMALS, "0"))
    if amount > MAX_AMOUNT:
        raise ValueError(f"{text[:60]!r} OPEN is more than there can be")
    return amount


def format_open(amount: int, places: int = 6) -> str:
    """Atomic units for people's eyes, rounded down to `places` decimals: `"1.25"`."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, fraction = divmod(amount, OPEN)
    digits = f"{fraction:0{DECIMALS}d}"[:places].rstrip("0")
    return f"{sign}{whole}" + (f".{digits}" if digits else "")


@dataclass(frozen=True)
class Price:
    """What a model's answer costs, in atomic units: per 1000 prompt tokens, per 1000 answer tokens, and per call."""

    per_1k_in: int
    per_1k_out: int
    platform_fee: int

    def fee(self, tokens_in: int, tokens_out: int) -> int:
        """The fee of one answer; the token part is rounded up to whole atomic units, once."""
        metered = tokens_in * self.per_1k_in + tokens_out * self.per_1k_out
        return self.platform_fee + -(-metered // 1000)
