from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.datanet.shares import PLACE_BYTES, SEGMENT, SHARE_BYTES, ShareGone, Shares
from services.datanet.vault import Unopened, Vault, place
from tests.old_vault import before_shares

SECRET, ABOUT = b"s" * 32, b"record 1"


def test_no_two_have_the_same_share_whoever_takes_it(tmp_path):
    folders = [Shares(tmp_path / "shares") for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda n: folders[n % 4].take(), range(3 * SEGMENT)))
    assert len({at for at, _ in taken}) == len({share for _, share in taken}) == 3 * SEGMENT
    assert {(len(at), len(share)) for at, share in taken} == {(PLACE_BYTES, SHARE_BYTES)}
    other = Shares(tmp_path / "shares")
    assert all(other.get(at) == share for at, share in taken)


def test_a_share_is_on_disk_before_anybody_has_it(tmp_path):
    _, share = Shares(tmp_path).take()
    (file,) = tmp_path.iterdir()
    assert share in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_destroyed_share_is_in_no_file_and_no_other_is_touched(tmp_path):
    shares = Shares(tmp_path)
    taken = [shares.take() for _ in range(3)]
    shares.destroy(taken[1][0])
    shares.destroy(taken[1][0])
    (file,) = tmp_path.iterdir()
    assert taken[1][1] not in file.read_bytes()
    assert len(file.read_bytes()) == SEGMENT * SHARE_BYTES
    with pytest.raises(ShareGone):
        shares.get(taken[1][0])
    assert [shares.get(taken[n][0]) for n in (0, 2)] == [taken[n][1] for n in (0, 2)]
    assert shares.take()[0] not in {at for at, _ in taken}


def test_a_share_that_is_not_there_is_gone(tmp_path):
    shares = Shares(tmp_path)
    with pytest.raises(ShareGone):
        shares.get(bytes(PLACE_BYTES))
    at, _ = shares.take()
    with pytest.raises(ShareGone):
        shares.get(at[:8] + b"\xff\xff")


def test_a_share_whose_file_is_elsewhere_is_not_said_to_be_destroyed(tmp_path):
    shares = Shares(tmp_path / "shares")
    at, share = shares.take()
    (tmp_path / "shares").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"{at[:8].hex()}\.shares"):
        shares.destroy(at)
    (tmp_path / "elsewhere").rename(tmp_path / "shares")
    assert shares.get(at) == share
    shares.destroy(at)
    with pytest.raises(ShareGone):
        shares.get(at)


def test_an_operator_who_has_lost_a_segment_can_say_so(tmp_path):
    shares = Shares(tmp_path)
    at, _ = shares.take()
    file = tmp_path / f"{at[:8].hex()}.shares"
    file.unlink()
    file.touch()
    shares.destroy(at)
    with pytest.raises(ShareGone):
        Shares(tmp_path).get(at)


def test_what_a_share_seals_opens_only_while_it_is_there(tmp_path):
    shares = Shares(tmp_path)
    vault = Vault(SECRET, shares)
    one, two = vault.seal(b"one", ABOUT), vault.seal(b"two", ABOUT)
    assert Vault(SECRET, Shares(tmp_path)).open(one, ABOUT) == b"one"
    vault.destroy(place(one.wrapped))
    for who in (vault, Vault(SECRET, Shares(tmp_path))):
        with pytest.raises(Unopened, match="nobody opens this any more"):
            who.open(one, ABOUT)
        assert who.open(two, ABOUT) == b"two"


def test_a_key_of_before_opens_and_is_wrapped_again(tmp_path):
    bare, vault = before_shares(SECRET), Vault(SECRET, Shares(tmp_path))
    sealed = bare.seal(b"content", ABOUT)
    assert place(sealed.wrapped) == b""
    assert vault.open(sealed, ABOUT) == b"content"
    again = type(sealed)(sealed.ciphertext, vault.wrapped_again(sealed.wrapped, ABOUT))
    assert vault.open(again, ABOUT) == b"content"
    vault.destroy(place(again.wrapped))
    with pytest.raises(Unopened):
        vault.open(again, ABOUT)


def test_a_changed_place_opens_nothing(tmp_path):
    vault = Vault(SECRET, Shares(tmp_path))
    one, two = vault.seal(b"one", ABOUT), vault.seal(b"two", ABOUT)
    for bit in range(8 * PLACE_BYTES):
        changed = bytearray(one.wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unopened):
            vault.open(type(one)(one.ciphertext, bytes(changed)), ABOUT)
    swapped = two.wrapped[:PLACE_BYTES] + one.wrapped[PLACE_BYTES:]
    with pytest.raises(Unopened):
        vault.open(type(one)(one.ciphertext, swapped), ABOUT)
