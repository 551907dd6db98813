from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.datanet.vault import Unopened
from tests.old_vault import before_shares

SECRET, OTHER = b"s" * 32, b"t" * 32
ABOUT = b"datanets/terms/records/1"


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_what_is_sealed_is_opened_by_the_same_secret(content, about):
    sealed = before_shares(SECRET).seal(content, about)
    assert before_shares(SECRET).open(sealed, about) == content
    assert len(content) < 8 or content not in sealed.ciphertext + sealed.wrapped


def test_another_secret_opens_nothing():
    sealed = before_shares(SECRET).seal(b"content", ABOUT)
    with pytest.raises(Unopened):
        before_shares(OTHER).open(sealed, ABOUT)


def test_what_was_sealed_for_one_record_is_not_anothers():
    vault = before_shares(SECRET)
    one, two = vault.seal(b"one", ABOUT), vault.seal(b"two", ABOUT + b"2")
    for sealed, about in ((one, ABOUT + b"2"), (replace(one, ciphertext=two.ciphertext), ABOUT), (two, ABOUT)):
        with pytest.raises(Unopened):
            vault.open(sealed, about)
    with pytest.raises(Unopened):
        vault.open(replace(one, wrapped=two.wrapped), ABOUT)


@given(st.data())
def test_a_changed_bit_is_seen(data):
    vault = before_shares(SECRET)
    sealed = vault.seal(b"content", ABOUT)
    part = data.draw(st.sampled_from(("ciphertext", "wrapped")))
    changed = bytearray(getattr(sealed, part))
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unopened):
        vault.open(replace(sealed, **{part: bytes(changed)}), ABOUT)


@given(st.binary(max_size=60), st.data())
def test_what_is_sealed_beside_a_content_opens_with_its_key_alone(content, data):
    vault = before_shares(SECRET)
    key, other = (vault.seal(b"content", ABOUT).wrapped for _ in range(2))
    box = vault.seal_beside(key, content, ABOUT)
    assert vault.open_beside(key, box, ABOUT) == content
    changed = bytearray(box)
    changed[data.draw(st.integers(0, len(box) - 1))] ^= 1
    for wrong in ((other, box, ABOUT), (key, box, ABOUT + b"2"), (key, bytes(changed), ABOUT), (key, box[:5], ABOUT)):
        with pytest.raises(Unopened):
            vault.open_beside(*wrong)
    with pytest.raises(Unopened):
        before_shares(OTHER).seal_beside(key, content, ABOUT)


@pytest.mark.parametrize("cut", (0, 1, 11, 12, 20))
def test_what_was_cut_off_is_not_opened(cut):
    vault = before_shares(SECRET)
    sealed = vault.seal(b"content", ABOUT)
    for part in ("ciphertext", "wrapped"):
        with pytest.raises(Unopened):
            vault.open(replace(sealed, **{part: getattr(sealed, part)[:cut]}), ABOUT)


def test_the_same_content_is_never_sealed_alike():
    vault = before_shares(SECRET)
    one, two = vault.seal(b"content", ABOUT), vault.seal(b"content", ABOUT)
    assert one.ciphertext != two.ciphertext
    assert one.wrapped != two.wrapped


def test_tokens_find_equal_data_of_one_kind_and_are_the_secrets_alone():
    vault = before_shares(SECRET)
    assert vault.token("word", b"fever") == before_shares(SECRET).token("word", b"fever")
    told_apart = {
        vault.token("word", b"fever"),
        vault.token("word", b"fevers"),
        vault.token("posting", b"fever"),
        vault.token("wor", b"d\x00fever"),
        before_shares(OTHER).token("word", b"fever"),
    }
    assert len(told_apart) == 5


@pytest.mark.parametrize("length", (0, 16, 31, 33))
def test_a_secret_has_32_bytes(length):
    with pytest.raises(ValueError, match="32 bytes"):
        before_shares(b"s" * length)
