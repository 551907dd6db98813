from __future__ import annotations

import os
import stat

import pytest

from services.datanet.erased import Erased, ErasedList
from services.datanet.shares import PLACE_BYTES

ONE = Erased("datanets/terms/records/r1", "by its contributor", b"p" * PLACE_BYTES)
TWO = Erased("datanets/terms/records/r2", "by its owner")


def test_what_was_added_is_read_by_whoever_comes_later(tmp_path):
    path = tmp_path / "there" / "erased.jsonl"
    assert ErasedList(path).read() == {}
    ErasedList(path).add(ONE)
    ErasedList(path).add(TWO)
    assert ErasedList(path).read() == {ONE.record: ONE, TWO.record: TWO}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_tried_again_and_again_is_added_once(tmp_path):
    listed = ErasedList(tmp_path / "erased.jsonl")
    for _ in range(3):
        listed.add(ONE, TWO)
    listed.add()
    assert (tmp_path / "erased.jsonl").read_text() == f"{ONE.line()}\n{TWO.line()}\n"


def test_a_place_that_is_known_is_not_forgotten_for_a_line_without(tmp_path):
    bare = Erased(ONE.record, ONE.told)
    for order in ((ONE, bare), (bare, ONE)):
        (tmp_path / "erased.jsonl").write_text("".join(f"{each.line()}\n" for each in order))
        assert ErasedList(tmp_path / "erased.jsonl").read() == {ONE.record: ONE}


@pytest.mark.parametrize("cut", range(len(ONE.line())))
def test_a_line_that_was_torn_by_a_crash_spoils_none_after_it(tmp_path, cut):
    path = tmp_path / "erased.jsonl"
    path.write_text(f"{TWO.line()}\n{ONE.line()[:cut]}")
    ErasedList(path).add(ONE)
    assert ErasedList(path).read() == {ONE.record: ONE, TWO.record: TWO}


@pytest.mark.parametrize(
    "line",
    (
        "x",
        "[]",
        "null",
        "{}",
        '{"record": 1, "told": "", "share": ""}',
        '{"record": "datanets/terms", "told": "", "share": ""}',
        '{"record": "datanets/terms/records/r1", "told": "", "share": "zz"}',
        '{"record": "datanets/terms/records/r1", "told": "", "share": "00"}',
        '{"record": "datanets/../records/\\u0000", "told": "", "share": ""}',
        "\xff\xfe",
    ),
)
def test_a_line_that_is_none_is_passed_over_and_said(tmp_path, line, capfd):
    path = tmp_path / "erased.jsonl"
    path.write_bytes(f"{line}\n{TWO.line()}\n".encode("latin-1"))
    assert ErasedList(path).read() == {TWO.record: TWO}
    assert "a line of the list of erased records is passed over" in capfd.readouterr().err


def test_a_full_disk_is_an_error_and_the_line_is_tried_again(tmp_path, monkeypatch):
    listed = ErasedList(tmp_path / "erased.jsonl")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            listed.add(ONE)
    listed.add(ONE)
    assert ErasedList(tmp_path / "erased.jsonl").read() == {ONE.record: ONE}
