"""Prices by model."""

from __future__ import annotations

import pytest

from openledger.money import Price
from services.openlora.prices import Prices, check_name

DEFAULT, CHEAP, DEAR = Price(10, 20, 3), Price(1, 2, 0), Price(100, 200, 30)
REVISION = "adapters/tiny/revisions/" + "1" * 64
PRICES = Prices(DEFAULT, {"adapters/tiny": CHEAP, REVISION: DEAR})


def test_a_revisions_price_goes_before_its_adapters_and_that_before_the_services():
    assert PRICES.of(REVISION) == DEAR
    assert PRICES.of("adapters/tiny/revisions/" + "2" * 64) == CHEAP
    assert PRICES.of("adapters/tinier/revisions/" + "2" * 64) == DEFAULT
    assert PRICES.of("base") == DEFAULT
    assert Prices(DEFAULT, {"base": DEAR}).of("base") == DEAR


def test_what_is_cheapest_and_dearest_is_known():
    assert PRICES.least(1000, 1000) == 3
    assert PRICES.most(1000, 1000) == 330
    assert Prices(DEFAULT).least(1000, 1000) == Prices(DEFAULT).most(1000, 1000) == 33


@pytest.mark.parametrize("name", ("base", "adapters/tiny", REVISION))
def test_prices_are_set_by_name(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ("", "tiny", "adapters/", "adapters/tiny/revisions", "models/tiny", "base/x"))
def test_what_is_no_model_has_no_price(name):
    with pytest.raises(ValueError, match="is no model"):
        check_name(name)
