from __future__ import annotations

import pytest

from openledger import names


def test_parts_come_out_at_the_stars():
    assert names.match("datanets/*/records/*", "datanets/hpo/records/r1") == ("hpo", "r1")


@pytest.mark.parametrize(
    "name",
    (
        "",
        "datanets/",
        "datanets/a/b",
        "records/a",
        "datanets/a b",
        "datanets/ä",
        "datanets/" + "a" * 101,
        "/datanets/a",
    ),
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="name"):
        names.match("datanets/*", name)


def test_accounts_are_lower_case():
    assert names.account("0x" + "Ab" * 20) == "accounts/0x" + "ab" * 20
    assert names.account_address("accounts/0x" + "AB" * 20) == "0x" + "ab" * 20
    with pytest.raises(ValueError, match="address"):
        names.account("0x12")
