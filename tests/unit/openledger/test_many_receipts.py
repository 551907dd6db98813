"""Ten thousand receipts: money is exact, a second implementation agrees, and one changed byte is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openledger.epoch.receipts import is_public
from openledger.receipt import check_signature, parse, sign
from openledger.split import Evidence, Rule, split_fee
from tests import second_opinion
from tests.split_world import EVIDENCE, RULES, fees
from tests.unit.openledger.test_receipt import KEY, UNSIGNED, changes_nothing

ENDED = "2026-01-02T03:04:06.000000Z"
WORDS = ({}, {"end_time": ENDED, "published": True}, {"end_time": ENDED, "published": False})
pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(900)]


@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(fees(), EVIDENCE, RULES, st.integers(0), st.integers(1, 255), st.sampled_from(WORDS))
def test_receipts_are_exact_and_one_changed_byte_is_found(
    fee_and_platform: tuple[int, int], evidence: Evidence, rule: Rule, place: int, flip: int, word: dict[str, Any]
) -> None:
    fee, platform_fee = fee_and_platform
    shares = split_fee(fee, platform_fee, evidence, rule)
    values = word | {"fee": fee, "platform_fee": platform_fee, "evidence": evidence, "rule": rule, "shares": shares}
    receipt = sign(type(UNSIGNED)(**{**vars(UNSIGNED), **values}), KEY)
    data = receipt.dumps()
    assert sum(shares.values()) == fee
    assert all(amount > 0 for amount in shares.values())
    assert second_opinion.shares(json.loads(data)) == shares
    assert second_opinion.is_public(json.loads(data)) is is_public(1, json.loads(data)) is parse(data).published
    assert parse(data).published is word.get("published", True)
    check_signature(parse(data))
    place %= len(data)
    damaged = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
    assert not changes_nothing(damaged)
