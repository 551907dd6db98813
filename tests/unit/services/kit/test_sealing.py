"""Boxes open for their key, in their place, beside what stood beside them, and in no other way."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from services.kit import sealing
from services.kit.sealing import DataKey, Unopened

PAYER = "accounts/0x" + "a" * 40
KEY = DataKey("k1", sealing.new_secret())
ABOUT = sealing.bound({"payer": PAYER}, "r1")


def test_what_is_closed_is_opened_again_and_is_never_closed_the_same_way():
    boxes = {sealing.close(KEY.secret, b"a text", ABOUT) for _ in range(3)}
    assert len(boxes) == 3
    for box in boxes:
        assert sealing.open_box(KEY.secret, box, ABOUT) == b"a text"
        assert b"a text" not in b64decode(box)


def test_no_other_key_place_or_neighbour_opens_a_box():
    box = sealing.close(KEY.secret, b"a text", ABOUT)
    for secret, about in (
        (sealing.new_secret(), ABOUT),
        (KEY.secret, sealing.bound({"payer": PAYER}, "r2")),
        (KEY.secret, sealing.bound({"payer": "accounts/0x" + "b" * 40}, "r1")),
    ):
        with pytest.raises(Unopened):
            sealing.open_box(secret, box, about)


def test_a_changed_byte_anywhere_is_found():
    whole = b64decode(sealing.close(KEY.secret, b"a text", ABOUT))
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(Unopened):
            sealing.open_box(KEY.secret, b64encode(changed).decode(), ABOUT)
    for broken in ("", "AAAA", "no box", b64encode(whole[:-1]).decode()):
        with pytest.raises(Unopened):
            sealing.open_box(KEY.secret, broken, ABOUT)


def test_a_data_key_is_wrapped_for_its_payer_and_under_its_name():
    service = sealing.new_secret()
    wrapped = sealing.wrap(service, KEY, PAYER)
    assert sealing.unwrap(service, "k1", PAYER, wrapped) == KEY
    for key, name, payer in (
        (sealing.new_secret(), "k1", PAYER),
        (service, "k2", PAYER),
        (service, "k1", "accounts/0x" + "b" * 40),
    ):
        with pytest.raises(Unopened):
            sealing.unwrap(key, name, payer, wrapped)
    assert KEY.secret.hex() not in repr(KEY)
