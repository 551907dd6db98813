from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context

import pytest
from eth_account import Account

from openledger.key_files import KeyFileError, is_keystore, keep, locked, password, private_key, unlock


def test_it_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "deep" / "a.key"
    key = private_key(path)
    assert Account.from_key(key).address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert private_key(path) == key
    assert list(path.parent.iterdir()) == [path]


def test_of_many_threads_that_make_it_at_once_all_get_the_same(tmp_path):
    numbers = count()
    for round_ in range(20):
        path = tmp_path / f"{round_}.key"
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda p: keep(p, lambda: b"%d" % next(numbers)), [path] * 8))
        assert found == {path.read_bytes()}
    assert len(list(tmp_path.iterdir())) == 20


def test_of_many_processes_that_make_it_at_once_all_get_the_same(tmp_path):
    with get_context("spawn").Pool(4) as pool:
        found = pool.map(private_key, [tmp_path / "a.key"] * 8)
    assert set(found) == {(tmp_path / "a.key").read_text()}


def test_what_is_there_is_never_replaced(tmp_path):
    """Even if somebody makes it between the look and the writing."""
    path = tmp_path / "a.key"

    def make() -> bytes:
        path.touch(0o600)
        path.write_bytes(b"the first one's")
        return b"the second one's"

    assert keep(path, make) == b"the first one's"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_disk_before_the_name_is_and_the_name_before_anybody_hears_of_it(tmp_path, monkeypatch):
    path, seen, fsync = tmp_path / "a.key", [], os.fsync

    def spy(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    keep(path, lambda: b"secret")
    assert seen == [(False, False), (True, True)]


def test_a_full_disk_leaves_nothing_behind_and_the_next_start_makes_the_key(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            private_key(tmp_path / "a.key")
    assert list(tmp_path.iterdir()) == []
    assert private_key(tmp_path / "a.key")


@pytest.mark.parametrize("mode", (0o640, 0o604, 0o620, 0o644))
def test_what_others_can_read_or_write_is_not_used(tmp_path, mode):
    path = tmp_path / "a.key"
    private_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        private_key(path)


@pytest.mark.parametrize("content", (b"", b"0x12", b"not a key but a secret", b"0x" + b"0" * 64, b"\xff\xfe"))
def test_what_is_no_key_is_named_and_not_shown(tmp_path, content):
    path = tmp_path / "a.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=str(path)) as caught:
        private_key(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert path.read_bytes() == content


def test_a_key_written_by_hand_may_end_in_a_new_line(tmp_path):
    path = tmp_path / "a.key"
    path.touch(0o600)
    path.write_text("0x" + "1" * 64 + "\n")
    assert private_key(path) == "0x" + "1" * 64


def test_a_keystore_opens_by_its_password_alone(tmp_path):
    key, path = "0x" + "1" * 64, tmp_path / "a.json"
    keep(path, lambda: locked(key, "correct horse"))
    assert is_keystore(path)
    assert key[2:] not in path.read_text()
    assert unlock(path, lambda: "correct horse") == key
    with pytest.raises(KeyFileError, match=f"{path} cannot be opened") as caught:
        unlock(path, lambda: "hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", ("{", "{}", '{"crypto": 1}', '{"version": 9, "crypto": {}}'))
def test_what_looks_like_a_keystore_and_is_none_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(KeyFileError, match=f"{path} cannot be opened"):
        unlock(path, lambda: "x")


def test_a_plain_key_is_opened_without_a_password_and_never_made(tmp_path):
    path = tmp_path / "a.key"
    with pytest.raises(FileNotFoundError):
        unlock(path, lambda: "")
    assert not path.exists()
    made = private_key(path)
    assert unlock(path, lambda: "") == made
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        unlock(path, lambda: "")


def test_a_password_is_its_owners_alone_and_ends_before_the_lines_end(tmp_path):
    path = tmp_path / "password"
    path.touch(0o600)
    path.write_text(" correct horse \r\n")
    assert password(path) == " correct horse "
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="it is no text"):
        password(path)
    path.chmod(0o604)
    with pytest.raises(KeyFileError, match="chmod 600"):
        password(path)


@pytest.mark.parametrize(
    ("owner", "mode", "taken"),
    (
        (1000, 0o400, True),
        (1000, 0o440, False),
        (0, 0o440, True),
        (0, 0o460, False),
        (0, 0o444, False),
        (7, 0o440, False),
    ),
)
def test_root_may_hand_a_file_to_our_group_and_nobody_else(tmp_path, monkeypatch, owner, mode, taken):
    """As Kubernetes mounts Secrets for a process that is not root."""
    path, looked = tmp_path / "a.key", os.fstat
    path.write_bytes(b"secret")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def status(handle: int) -> os.stat_result:
        seen = list(looked(handle))
        seen[0], seen[4] = stat.S_IFREG | mode, owner
        return os.stat_result(seen)

    monkeypatch.setattr(os, "fstat", status)
    if taken:
        assert keep(path, lambda: b"another") == b"secret"
    else:
        with pytest.raises(KeyFileError, match="can be read by others"):
            keep(path, lambda: b"another")


def test_of_ones_own_files_none_may_be_read_by_the_group(tmp_path):
    """Also when we are root."""
    path = tmp_path / "a.key"
    path.write_bytes(b"secret")
    path.chmod(0o440)
    with pytest.raises(KeyFileError, match="can be read by others"):
        keep(path, lambda: b"another")
