from __future__ import annotations

from typing import Any

import pytest

from openledger import signed_document
from openledger.client import Wallet
from openledger.signed_document import check, sign

SIGNER = Wallet("0x" + "11" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def signed() -> dict[str, Any]:
    return sign({"what": "a word", "signer": "", "signature": ""}, SIGNER.private_key)


def test_a_signed_document_names_its_signer_and_holds() -> None:
    document = signed()
    assert document["signer"] == SIGNER.address
    check(document)
    check(sign(document, SIGNER.private_key))


@pytest.mark.parametrize("change", ({"what": "another word"}, {"more": 1}, {"signer": "0x" + "00" * 20}))
def test_a_changed_document_does_not_hold(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="changed after it was signed"):
        check(signed() | change)


def test_the_same_signature_in_another_spelling_does_not_hold() -> None:
    text = signed()["signature"]
    r, s, v = text[2:66], int(text[66:130], 16), text[130:]
    other = f"0x{r}{ORDER - s:064x}{'1b' if v == '1c' else '1c'}"
    for spelling in (other, text.upper().replace("0X", "0x"), text[:-2] + "00", text + "00", text[2:]):
        with pytest.raises(ValueError, match="one spelling"):
            check(signed() | {"signature": spelling})


def test_a_signature_that_is_no_point_cannot_be_read() -> None:
    unreadable = "0x" + "f" * 64 + "0" * 63 + "1" + "1b"
    with pytest.raises(ValueError, match="cannot be read"):
        check(signed() | {"signature": unreadable})


def test_half_the_order_is_what_it_says() -> None:
    assert signed_document._HALF_ORDER == ORDER // 2
