"""What gas costs, in wei and in money."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import Fault
from services.ledger.chain import ChainUnavailable, Price
from services.ledger.ether import Ether
from services.ledger.gas_price import MEASURED, GasPrices
from tests.needs import ROOT

GWEI = 10**9


def prices(price, ether=None, seconds=60.0):
    asked = []

    def ask():
        asked.append(price)
        if isinstance(price, Exception):
            raise price
        return price

    chain = SimpleNamespace(chain_id=5, price=ask)
    return GasPrices(chain, ether, most=500 * GWEI, seconds=seconds), asked


def test_gas_is_what_forge_measured():
    snapshot = json.loads((ROOT / "contracts" / "snapshots" / "transactions.json").read_text())
    assert dict(MEASURED.values()) == {name: int(snapshot[name]) for name, _ in MEASURED.values()}


async def test_a_transaction_costs_base_fee_and_tip_for_its_gas():
    found = await prices(Price(7 * GWEI, GWEI))[0].now()
    assert (found.chain_id, found.base_fee, found.tip, found.most) == (5, str(7 * GWEI), str(GWEI), str(500 * GWEI))
    costs = {cost.transaction: cost for cost in found.costs}
    assert costs.keys() == MEASURED.keys()
    assert costs["root"].wei == str(8 * GWEI * costs["root"].gas)
    assert {cost.money for cost in found.costs} == {found.currency} == {""}


async def test_money_is_told_where_an_ether_has_a_price():
    found = await prices(Price(GWEI, 0), Ether("3000.5", "EUR"))[0].now()
    root = next(cost for cost in found.costs if cost.transaction == "root")
    assert (found.currency, found.ether_price) == ("EUR", "3000.5")
    assert root.money == "0.163108"  # 54,360 gwei are 0.00005436 ether: 0.16310718 euros, rounded up


@given(wei=st.integers(0, 2**100), whole=st.integers(0, 10**12 - 1), places=st.integers(0, 999_999))
def test_worth_is_exact_and_rounded_up(wei, whole, places):
    found = Ether(f"{whole}.{places:06d}", "USD").worth(wei).replace(".", "")
    exact = wei * (whole * 10**6 + places)
    assert (int(found) - 1) * 10**18 < exact <= int(found) * 10**18


async def test_the_node_is_asked_once_in_a_while_whoever_asks_here():
    found, asked = prices(Price(1, 1))
    await found.now()
    await found.now()
    assert len(asked) == 1
    found, asked = prices(Price(1, 1), seconds=0)
    await found.now()
    await found.now()
    assert len(asked) == 2


async def test_a_chain_that_does_not_say_is_no_fault_of_the_asker():
    found, _ = prices(ChainUnavailable("the node does not answer"))
    with pytest.raises(Fault, match="does not say what gas costs") as caught:
        await found.now()
    assert caught.value.reason == "CHAIN_UNAVAILABLE"
