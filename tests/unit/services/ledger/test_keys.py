from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.ledger import keys
from services.ledger.keys import KeyFileError
from tests.needs import ROOT


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "deep" / "operator.key"
    made = keys.account(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.account(path).address == made.address
    assert [p.name for p in path.parent.iterdir()] == ["operator.key"]


def test_of_many_who_make_it_at_once_all_get_the_same(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: keys.account(tmp_path / "k").address, range(8)))
    assert len(found) == 1


def test_the_session_key_stays(tmp_path):
    first = keys.session_key(tmp_path / "s.pem").private_bytes_raw()
    assert keys.session_key(tmp_path / "s.pem").private_bytes_raw() == first


@pytest.mark.parametrize("read", (keys.account, keys.session_key))
def test_a_key_that_others_can_read_is_not_used(tmp_path, read):
    path = tmp_path / "k"
    read(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read(path)


@pytest.mark.parametrize("read", (keys.account, keys.session_key))
@pytest.mark.parametrize("content", (b"", b"not a key", b"0x12", b"\xff\xfe"))
def test_a_file_that_is_no_key_is_named_and_its_content_is_not(tmp_path, read, content):
    path = tmp_path / "k"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=str(path)) as caught:
        read(path)
    assert "not a key" not in str(caught.value)


def test_the_command_makes_a_key_and_says_its_address(tmp_path):
    command = [sys.executable, "-m", "services.ledger.keys", str(tmp_path / "k")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == keys.account(tmp_path / "k").address.lower()
