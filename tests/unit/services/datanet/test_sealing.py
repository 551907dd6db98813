from __future__ import annotations

from dataclasses import replace

import pytest

from openledger import records
from services.datanet import sealing
from services.datanet.vault import Unopened
from tests.old_vault import before_shares

VAULT = before_shares()
SALT = b"s" * 32
BODY = records.canonical_bytes("0x" + "a" * 40, {"text": "Fieber é 发烧"}, "a source")


def test_what_was_sealed_comes_out_whole():
    content = sealing.unseal(VAULT, "one", sealing.seal(VAULT, "one", SALT, BODY))
    assert (content.fields, content.source) == ({"text": "Fieber é 发烧"}, "a source")
    assert (content.salt, content.canonical) == (SALT, BODY)


def test_a_suggestion_is_in_the_same_box():
    suggested = {"text": "Fieber [NAME 1]", "é": "发烧"}
    content = sealing.unseal(VAULT, "one", sealing.seal(VAULT, "one", SALT, BODY, suggested))
    assert content.suggested == suggested
    assert (content.salt, content.canonical) == (SALT, BODY)
    assert sealing.unseal(VAULT, "one", sealing.seal(VAULT, "one", SALT, BODY)).suggested is None


def test_a_box_opens_as_the_record_that_it_was_made_for():
    sealed = sealing.seal(VAULT, "one", SALT, BODY)
    with pytest.raises(Unopened):
        sealing.unseal(VAULT, "two", sealed)
    other = sealing.seal(VAULT, "two", SALT, BODY)
    with pytest.raises(Unopened):
        sealing.unseal(VAULT, "one", replace(sealed, wrapped=other.wrapped))


def test_a_box_of_a_later_version_is_not_misread():
    later = VAULT.seal(b"\x03" + SALT + BODY, b"record one")
    with pytest.raises(Unopened, match="later version"):
        sealing.unseal(VAULT, "one", later)
