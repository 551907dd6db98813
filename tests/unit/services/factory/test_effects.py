from __future__ import annotations

import pytest

from services.factory.effects import FILE, Effects, EffectsError, join

WHO, OTHER = "0x" + "0a" * 20, "0x" + "0b" * 20


def test_they_come_back_from_their_file():
    effects = Effects(3, {WHO: 0.25, OTHER: -0.125})
    assert Effects.from_bytes(effects.to_bytes()) == effects


@pytest.mark.parametrize(
    "data",
    (b"", b"[]", b"{}", b'{"version":"another","held_out":1,"rises":{}}',
     b'{"version":"openledger.effects.v1","held_out":1,"rises":{"a":"x"}}',
     b'{"version":"openledger.effects.v1","held_out":1,"rises":[]}'),
)  # fmt: skip
def test_what_cannot_be_read_is_told(data):
    with pytest.raises(EffectsError):
        Effects.from_bytes(data)


def test_those_of_parts_are_put_together(tmp_path):
    for name, effects in (("a", Effects(3, {WHO: 0.25})), ("b", Effects(3, {OTHER: 0.5})), ("out", Effects(0, {}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(effects.to_bytes())
    join(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert Effects.from_bytes((tmp_path / "out" / FILE).read_bytes()) == Effects(3, {WHO: 0.25, OTHER: 0.5})
