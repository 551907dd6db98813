from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account

from services.attribution.signing_key import load_or_create
from services.kit.server import StartError


def test_it_is_made_once_and_for_its_owner_alone(tmp_path):
    file = tmp_path / "deep" / "signing.key"
    key = load_or_create(file)
    assert Account.from_key(key).address
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_or_create(file) == key
    assert list(file.parent.iterdir()) == [file]


def test_many_that_start_at_once_have_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(load_or_create, [tmp_path / "signing.key"] * 32))
    assert len(keys) == 1


def test_a_key_that_everybody_can_read_is_refused(tmp_path):
    file = tmp_path / "signing.key"
    load_or_create(file)
    file.chmod(0o604)
    with pytest.raises(StartError, match="chmod"):
        load_or_create(file)


@pytest.mark.parametrize("text", ("", "0x1234", "not a key but a secret", "0x" + "0" * 64))
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, text):
    file = tmp_path / "signing.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(StartError, match="does not hold a private key") as caught:
        load_or_create(file)
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)
