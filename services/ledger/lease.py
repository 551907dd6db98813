"""How much a payer can spend, and what leases set aside of it.  Pure arithmetic: no clock, no storage.

A lease promises that answers up to its amount will be paid.  What its receipts have not charged yet stays reserved:
until it is released, then only what the answers used, and after its end and a grace for receipts on their way, nothing.
That end is not one by the clock: `read` is up to when receipts were read, and while they wait a reservation holds.
Amounts are atomic units, times Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

COLLECT_SECONDS = 3600
"""What an authorisation must still hold for what a lease reserves, however late its receipt comes: to be redeemed."""


@dataclass(frozen=True)
class Times:
    """How long leases last, their grace, and what an authorisation must outlive a lease by; seconds."""

    lease: int
    grace: int
    redeem: int

    @property
    def outlive(self) -> int:
        """How long an authorisation must still hold for a lease to be given under it."""
        return self.lease + self.grace + self.redeem


@dataclass(frozen=True)
class Payer:
    """What a payer has.

    `balance`: deposited, not spent, not withdrawn.  `cap`: cumulative spending authorised by signature, redeemable
    until `deadline`.  `spent`: cumulative.  `withdrawing`: asked back on chain.
    """

    address: str
    balance: int = 0
    cap: int = 0
    deadline: int = 0
    spent: int = 0
    withdrawing: int = 0


@dataclass(frozen=True)
class Lease:
    """A promise to pay for answers.  `held` is what it may still be charged up to: its amount, or what it used."""

    name: str
    payer: str
    amount: int
    held: int
    charged: int
    expire_time: int
    reserved_until: int
    released: bool = False

    def reserved(self, read: float) -> int:
        """What of the payer's balance is set aside for receipts to come."""
        return max(0, self.held - self.charged) if read < self.reserved_until else 0

    @property
    def settled(self) -> bool:
        """Whether nothing more is reserved, at whatever time."""
        return self.held <= self.charged


class Refusal(Exception):
    """The payer cannot pay for this; `reason` is UPPER_SNAKE, the text says what is missing."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def spendable(payer: Payer, leases: Iterable[Lease], now: float, read: float, outlive: float) -> int:
    """What can be leased now.

    The authorisation must hold for `outlive` seconds more: what is spent under it has to be redeemed before it ends.
    """
    under_cap = payer.cap - payer.spent if payer.deadline >= now + outlive else 0
    free = min(payer.balance - payer.withdrawing, under_cap) - leased(leases, read)
    return max(0, free)


def leased(leases: Iterable[Lease], read: float) -> int:
    """What open leases reserve."""
    return sum(lease.reserved(read) for lease in leases)


def release(lease: Lease, used: int) -> Lease:
    """The lease with only what it used reserved.  Raises `Refusal` when that is more than it had.

    What was given back once may be promised to others by now: a later release never takes it back.
    """
    if used > lease.amount:
        raise Refusal("LEASE_EXCEEDED", f"{lease.name} had {lease.amount}, of which {used} cannot have been used")
    return replace(lease, held=max(lease.charged, min(used, lease.held)), released=True)


def charge(
    payer: Payer, lease: Lease, others: Iterable[Lease], fee: int, now: float, read: float, room: float = 0
) -> Lease:
    """The lease after a receipt of `fee`.  Raises `Refusal` when it, or the payer, has not so much.

    What the lease reserves is paid whatever became of the payer's balance meanwhile: the answer was given on that
    word, and what the chain took back since is its payer's debt.  A receipt that comes after its lease was released or
    ran out is paid from what is free, if there is enough: whoever earned it did so.  Then what other leases reserve is
    not touched, nor what the payer asked back.  No cap is ever passed.  Nothing is charged that the escrow would not
    give: the authorisation must hold for `room` seconds more, in which it is redeemed, and for what the lease reserves,
    whose receipt had to wait to come so late, for `COLLECT_SECONDS` of them.
    """
    if payer.address != lease.payer:
        raise Refusal("WRONG_LEASE", f"{lease.name} is not a lease of {payer.address}")
    if lease.charged + fee > lease.amount:
        raise Refusal("LEASE_EXCEEDED", f"{lease.name} has {lease.amount - lease.charged} left, the fee is {fee}")
    own = lease.reserved(read)
    if fee and payer.deadline < now + (min(room, COLLECT_SECONDS) if fee <= own else room):
        raise Refusal(
            "AUTHORISATION_ENDED",
            f"what {payer.address} spends could not be redeemed: its authorisation holds until {payer.deadline}",
        )
    reserved = leased(others, read)
    unasked = own + max(0, payer.balance - payer.withdrawing - reserved - own)
    free = min(max(own, min(payer.balance - reserved, unasked)), payer.cap - payer.spent - reserved)
    if fee > free:
        raise Refusal("INSUFFICIENT_BALANCE", f"{payer.address} can pay {max(0, free)}, the fee is {fee}")
    charged = lease.charged + fee
    return replace(lease, charged=charged, held=max(lease.held, charged))
