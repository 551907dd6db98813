"""Ten thousand receipts: money is exact, a second implementation agrees, and one changed byte is found."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openledger.receipt import check_signature, parse, sign
from openledger.split import Evidence, Rule, split_fee
from tests import second_opinion
from tests.split_world import EVIDENCE, RULES, fees
from tests.unit.openledger.test_receipt import KEY, UNSIGNED, changes_nothing

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(900)]


@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(fees(), EVIDENCE, RULES, st.integers(0), st.integers(1, 255))
def test_receipts_are_exact_and_one_changed_byte_is_found(
    fee_and_platform: tuple[int, int], evidence: Evidence, rule: Rule, place: int, flip: int
) -> None:
    fee, platform_fee = fee_and_platform
    shares = split_fee(fee, platform_fee, evidence, rule)
    values = {"fee": fee, "platform_fee": platform_fee, "evidence": evidence, "rule": rule, "shares": shares}
    receipt = sign(type(UNSIGNED)(**{**vars(UNSIGNED), **values}), KEY)
    data = receipt.dumps()
    assert sum(shares.values()) == fee
    assert all(amount > 0 for amount in shares.values())
    assert second_opinion.shares(json.loads(data)) == shares
    check_signature(parse(data))
    place %= len(data)
    damaged = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
    assert not changes_nothing(damaged)
