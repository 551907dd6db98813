"""What settling costs is what forge measured, and the documentation says the same."""

from __future__ import annotations

from bench.ledger import costs
from tests.needs import ROOT


def test_the_documentation_has_the_table_that_the_snapshot_gives():
    assert costs.table() in (ROOT / "docs" / "settlement.md").read_text()


def test_the_figures_are_of_one_account_each():
    found = costs.figures()
    assert found.keys() == {"gas_root", "gas_claim_1m", "gas_claim_sponsored", "gas_voucher"}
    assert (found["gas_root"], found["gas_voucher"]) == (costs.gas()["root"], costs.gas()["redeem_100"] // 100)


def test_costs_grow_with_the_price_of_gas_and_with_who_collects():
    rows = list(costs.rows())
    assert [row["gas"] for row in rows[:4]] == sorted(row["gas"] for row in rows[:4])
    assert rows[0]["dollars_at_1_gwei"] == round(rows[0]["gas"] * 3000 / 10**9, 2)
