"""What payers' leases hold, and the arithmetic of reserving and settling.  Pure: no clock, no network, no storage.

An answer reserves the most it can cost in one lease before it is begun and settles what it did cost afterwards, so no
sum of answers can charge a lease with more than it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Lease:
    """Spendable balance that the ledger set aside for one account.  Amounts in atomic units, times in Unix seconds."""

    name: str
    account: str
    amount: int
    expires: float
    last_used: float
    used: int = 0
    held: int = 0

    @property
    def free(self) -> int:
        """What can still be reserved."""
        return self.amount - self.used - self.held


class Reservation:
    """A part of a lease that one answer may use up.  Settled exactly once."""

    def __init__(self, lease: Lease, amount: int) -> None:
        self.lease, self.amount, self._open = lease, amount, True

    def settle(self, fee: int) -> None:
        """The answer cost `fee`; the rest is free again.  Raises `ValueError` for more than was reserved."""
        if not self._open:
            raise ValueError("this reservation was settled before")
        if not 0 <= fee <= self.amount:
            raise ValueError(f"a fee of {fee} does not fit the {self.amount} that were reserved for it")
        self._open = False
        self.lease.held -= self.amount
        self.lease.used += fee

    def cancel(self) -> None:
        """There was no answer.  After `settle` this changes nothing."""
        if self._open:
            self.settle(0)


class Purse:
    """The leases at hand.  A lease is not reserved from in the last `margin` seconds of its life.

    An answer must end, and its fee be known to the ledger, before its lease does.
    """

    def __init__(self, margin: float) -> None:
        self._margin, self._leases = margin, dict[str, list[Lease]]()

    def __iter__(self) -> Iterator[Lease]:
        """Every lease."""
        return (lease for leases in self._leases.values() for lease in leases)

    def add(self, lease: Lease) -> None:
        """A new lease."""
        self._leases.setdefault(lease.account, []).append(lease)

    def reserve(self, account: str, amount: int, now: float) -> Reservation | None:
        """A reservation in the account's first lease to end that has so much; None when there is none."""
        fitting = [lease for lease in self._leases.get(account, ()) if self.usable(lease, amount, now)]
        if not fitting:
            return None
        lease = min(fitting, key=lambda lease: lease.expires)
        lease.held += amount
        lease.last_used = now
        return Reservation(lease, amount)

    def fits(self, account: str, amount: int, now: float) -> bool:
        """Whether `reserve` would give something."""
        return any(self.usable(lease, amount, now) for lease in self._leases.get(account, ()))

    def usable(self, lease: Lease, amount: int, now: float) -> bool:
        """Whether that lease has so much for an answer that begins now."""
        return lease.free >= amount and self._lasts(lease, now)

    def free(self, account: str, now: float) -> int:
        """What the account can still reserve, over all of its leases."""
        return sum(lease.free for lease in self._leases.get(account, ()) if self._lasts(lease, now))

    def retire(self, now: float, idle: float, smallest: int) -> list[Lease]:
        """Takes out what is of no more use: leases that end, rest for `idle` seconds, or have under `smallest` left.

        A lease that an answer still holds stays.
        """
        return self._take(
            lambda lease: not self._lasts(lease, now) or now - lease.last_used >= idle or lease.free < smallest
        )

    def retire_account(self, account: str) -> list[Lease]:
        """Takes out the account's leases that no answer holds, whatever they have left."""
        return self._take(lambda lease: lease.account == account)

    def _take(self, useless: Callable[[Lease], bool]) -> list[Lease]:
        taken = [lease for lease in self if not lease.held and useless(lease)]
        for lease in taken:
            self._leases[lease.account].remove(lease)
            if not self._leases[lease.account]:
                del self._leases[lease.account]
        return taken

    def _lasts(self, lease: Lease, now: float) -> bool:
        return lease.expires - now > self._margin
