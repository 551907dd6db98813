from __future__ import annotations

from dataclasses import replace

import pytest

from services.ledger.lease import Lease, Payer, Refusal, charge, leased, release, spendable

NOW = 1000.0
PAYER = Payer("0xa", balance=100, cap=150, deadline=2000, spent=20)


def a_lease(**changes) -> Lease:
    plain = {"amount": 40, "held": 40, "charged": 0, "expire_time": 1100, "reserved_until": 1110}
    return Lease("leases/1", "0xa", **plain | changes)


@pytest.mark.parametrize(
    ("payer", "leases", "expected"),
    (
        (PAYER, [], 100),
        (PAYER, [a_lease()], 60),
        (PAYER, [a_lease(charged=15)], 75),
        (PAYER, [a_lease(reserved_until=1000)], 100),
        (Payer("0xa", balance=100, cap=50, deadline=2000, spent=20), [], 30),
        (Payer("0xa", balance=100, cap=150, deadline=1049, spent=20), [], 0),
        (Payer("0xa", balance=100, cap=150, deadline=2000, withdrawing=70), [], 30),
        (Payer("0xa", balance=10, cap=150, deadline=2000), [a_lease()], 0),
        (Payer("0xa"), [], 0),
    ),
)
def test_what_can_be_leased(payer, leases, expected):
    assert spendable(payer, leases, NOW, NOW, outlive=50) == expected


def test_a_charge_uses_what_the_lease_holds():
    after = charge(PAYER, a_lease(), [], 15, NOW, NOW)
    assert (after.charged, after.reserved(NOW), after.settled) == (15, 25, False)
    whole = charge(PAYER, after, [], 25, NOW, NOW)
    assert (whole.charged, whole.reserved(NOW), whole.settled) == (40, 0, True)


@pytest.mark.parametrize(
    ("payer", "lease", "others", "fee", "reason"),
    (
        (Payer("0xb", balance=100, cap=100, deadline=2000), a_lease(), [], 1, "WRONG_LEASE"),
        (PAYER, a_lease(charged=30), [], 11, "LEASE_EXCEEDED"),
        (Payer("0xa", balance=5, cap=100, deadline=2000), a_lease(held=3), [], 6, "INSUFFICIENT_BALANCE"),
        (Payer("0xa", balance=5, cap=100, deadline=2000), a_lease(reserved_until=1000), [], 6, "INSUFFICIENT_BALANCE"),
        (Payer("0xa", balance=100, cap=25, deadline=2000, spent=20), a_lease(), [], 6, "INSUFFICIENT_BALANCE"),
        (
            Payer("0xa", balance=50, cap=100, deadline=2000),
            a_lease(held=0),
            [a_lease(held=40)],
            11,
            "INSUFFICIENT_BALANCE",
        ),
    ),
)
def test_a_charge_that_is_refused(payer, lease, others, fee, reason):
    with pytest.raises(Refusal) as caught:
        charge(payer, lease, others, fee, NOW, NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize("balance", (29, 0, -1, -100))
@pytest.mark.parametrize("others", ([], [a_lease(amount=70, held=70)]))
def test_what_a_lease_reserves_is_paid_whatever_became_of_the_balance(balance, others):
    payer = replace(PAYER, balance=balance)
    assert charge(payer, a_lease(), others, 40, NOW, NOW).charged == 40
    part = a_lease(charged=10, held=30)
    assert charge(payer, part, others, 20, NOW, NOW).charged == 30
    with pytest.raises(Refusal) as caught:
        charge(payer, part, others, 30, NOW, NOW)  # more than is reserved needs money that is there
    assert caught.value.reason == "INSUFFICIENT_BALANCE"


def test_a_charge_after_the_end_is_paid_from_what_is_free():
    late = a_lease(reserved_until=900)
    assert charge(PAYER, late, [], 40, NOW, NOW).charged == 40


@pytest.mark.parametrize(("deadline", "taken"), ((999, False), (1049, False), (1050, True), (1051, True)))
def test_nothing_is_charged_that_could_not_be_redeemed_any_more(deadline, taken):
    payer = replace(PAYER, deadline=deadline)
    if taken:
        assert charge(payer, a_lease(), [], 15, NOW, NOW, room=50).charged == 15
        return
    with pytest.raises(Refusal, match=f"holds until {deadline}") as caught:
        charge(payer, a_lease(), [], 15, NOW, NOW, room=50)
    assert caught.value.reason == "AUTHORISATION_ENDED"
    assert charge(payer, a_lease(), [], 0, NOW, NOW, room=50).charged == 0  # what costs nothing needs no signature


@pytest.mark.parametrize(
    ("lease", "withdrawing", "most"),
    (
        (a_lease(), 100, 40),  # what was promised before it was asked back
        (a_lease(reserved_until=900), 100, 0),  # a receipt that comes late
        (a_lease(reserved_until=900), 70, 30),
        (a_lease(held=10, released=True), 100, 10),
        (a_lease(held=10, released=True), 70, 30),
    ),
)
def test_what_was_asked_back_pays_for_what_was_promised_before_and_for_nothing_else(lease, withdrawing, most):
    payer = replace(PAYER, withdrawing=withdrawing)
    assert charge(payer, lease, [], most, NOW, NOW).charged == most
    with pytest.raises(Refusal):
        charge(payer, lease, [], most + 1, NOW, NOW)


def test_a_release_keeps_what_was_used_until_its_receipts_arrive():
    released = release(a_lease(charged=10), 25)
    assert (released.held, released.reserved(NOW)) == (25, 15)
    assert charge(PAYER, released, [], 15, NOW, NOW).settled


def test_a_release_keeps_what_was_charged():
    assert release(a_lease(charged=30), 10).held == 30


def test_what_was_given_back_is_never_taken_back():
    once = release(a_lease(), 5)
    assert release(once, 40).held == 5
    assert leased([release(once, 40)], NOW) == 5


def test_more_than_the_lease_cannot_have_been_used():
    with pytest.raises(Refusal, match="leases/1 had 40"):
        release(a_lease(), 41)
