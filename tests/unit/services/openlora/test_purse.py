"""Reserving and settling: no sum of answers charges a lease with more than it has."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.openlora.purse import Lease, Purse

PAYER, OTHER = "accounts/0x" + "a" * 40, "accounts/0x" + "b" * 40


def lease(amount: int = 100, *, name: str = "leases/1", account: str = PAYER, expires: float = 1000) -> Lease:
    return Lease(name, account, amount, expires, last_used=0)


def purse(*leases: Lease, margin: float = 10) -> Purse:
    made = Purse(margin)
    for each in leases:
        made.add(each)
    return made


def test_what_is_reserved_is_not_free_and_what_was_not_used_is_free_again():
    ours = lease(100)
    reservation = purse(ours).reserve(PAYER, 60, now=0)
    assert ours.free == 40
    reservation.settle(25)
    assert (ours.free, ours.used, ours.held) == (75, 25, 0)


def test_nothing_is_reserved_beyond_a_lease():
    at_hand = purse(lease(100))
    assert at_hand.reserve(PAYER, 60, now=0)
    assert at_hand.reserve(PAYER, 60, now=0) is None
    assert not at_hand.fits(PAYER, 41, now=0)
    assert at_hand.reserve(PAYER, 40, now=0)


def test_a_payer_never_spends_anothers_lease():
    assert purse(lease(100)).reserve(OTHER, 1, now=0) is None


def test_the_lease_that_ends_first_is_used_first():
    at_hand = purse(lease(name="leases/late", expires=2000), lease(name="leases/early", expires=1000))
    assert at_hand.reserve(PAYER, 1, now=0).lease.name == "leases/early"


def test_a_lease_near_its_end_is_not_begun_on():
    at_hand = purse(lease(expires=1000), margin=10)
    assert at_hand.reserve(PAYER, 1, now=989.9)
    assert at_hand.reserve(PAYER, 1, now=990) is None
    assert at_hand.free(PAYER, now=990) == 0


def test_a_reservation_is_settled_once_and_never_beyond_itself():
    ours = lease(100)
    reservation = purse(ours).reserve(PAYER, 10, now=0)
    with pytest.raises(ValueError, match="does not fit"):
        reservation.settle(11)
    reservation.settle(10)
    with pytest.raises(ValueError, match="before"):
        reservation.settle(1)
    reservation.cancel()
    assert ours.used == 10


def test_useless_leases_are_taken_out_but_never_one_that_an_answer_holds():
    ending, resting, spent, fresh = (lease(name=f"leases/{n}") for n in ("ending", "resting", "spent", "fresh"))
    ending.expires, spent.used, fresh.last_used, spent.last_used, ending.last_used = 400, 99, 390, 390, 390
    busy = lease(name="leases/busy", expires=400)
    at_hand = purse(ending, resting, spent, fresh, busy)
    busy.held = 1
    assert {each.name for each in at_hand.retire(395, idle=300, smallest=2)} == {
        "leases/ending",
        "leases/resting",
        "leases/spent",
    }
    assert {each.name for each in at_hand} == {"leases/fresh", "leases/busy"}


def test_an_accounts_unheld_leases_can_be_taken_together():
    mine, theirs = lease(), lease(account=OTHER, name="leases/2")
    at_hand = purse(mine, theirs)
    assert at_hand.retire_account(PAYER) == [mine]
    assert list(at_hand) == [theirs]


class Spree(RuleBasedStateMachine):
    """Any order of reservations and settlements."""

    def __init__(self) -> None:
        super().__init__()
        self.purse, self.open, self.fees = Purse(0), [], 0
        self.leases = [lease(name=f"leases/{n}", amount=n * 37) for n in range(1, 4)]
        for each in self.leases:
            self.purse.add(each)

    @rule(amount=st.integers(0, 120))
    def reserve(self, amount: int) -> None:
        possible = any(each.free >= amount for each in self.leases)
        reservation = self.purse.reserve(PAYER, amount, now=0)
        assert (reservation is not None) == possible
        if reservation is not None:
            self.open.append(reservation)

    @rule(share=st.floats(0, 1), which=st.integers(0, 100))
    def settle(self, share: float, which: int) -> None:
        if self.open:
            reservation = self.open.pop(which % len(self.open))
            fee = int(reservation.amount * share)
            reservation.settle(fee)
            self.fees += fee

    @invariant()
    def no_lease_is_overdrawn_and_every_fee_is_on_one(self) -> None:
        assert all(each.used >= 0 and each.held >= 0 and each.free >= 0 for each in self.leases)
        assert sum(each.used for each in self.leases) == self.fees
        assert sum(each.held for each in self.leases) == sum(r.amount for r in self.open)


Spree.TestCase.settings = settings(max_examples=50)
TestSpree = Spree.TestCase
