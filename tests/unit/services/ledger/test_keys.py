from __future__ import annotations

import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openledger.key_files import KeyFileError, is_keystore
from services.ledger import keys
from tests.needs import ROOT


def pem(key, encryption=None) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())


def test_the_senders_account_stays(tmp_path):
    first = keys.account(tmp_path / "operator.key")
    assert keys.account(tmp_path / "operator.key").address == first.address


def test_the_session_key_stays_and_is_its_owners_alone(tmp_path):
    first = keys.session_key(tmp_path / "s.pem").private_bytes_raw()
    assert keys.session_key(tmp_path / "s.pem").private_bytes_raw() == first
    assert stat.S_IMODE((tmp_path / "s.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    (
        b"not a key",
        b"\xff\xfe",
        pem(generate_private_key(SECP256K1())),
        pem(Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"password")),
    ),
    ids=("text", "bytes", "another kind", "with a password"),
)
def test_a_file_that_is_no_session_key_is_named_and_its_content_is_not(tmp_path, content):
    path = tmp_path / "s.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=str(path)) as caught:
        keys.session_key(path)
    assert "not a key" not in str(caught.value)


def test_the_command_makes_a_key_and_says_its_address(tmp_path):
    command = [sys.executable, "-m", "services.ledger.keys", str(tmp_path / "k")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == keys.account(tmp_path / "k").address.lower()


def test_the_command_makes_a_keystore_that_its_password_opens(tmp_path):
    told = tmp_path / "password"
    told.touch(0o600)
    told.write_text("correct horse\n")
    command = [sys.executable, "-m", "services.ledger.keys", str(tmp_path / "k"), "--password-file", str(told)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert is_keystore(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert done.stdout.strip() == keys.account(tmp_path / "k", keys.password(told, None)).address.lower()
    with pytest.raises(KeyFileError, match="is locked"):
        keys.account(tmp_path / "k")
