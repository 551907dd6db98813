from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from openledger import canonical, merkle
from openledger.influence.index import ContributionIndex, ContributionIndexError, build, joined, quantised, root
from openledger.influence.parameters import Parameter
from openledger.influence.quantize import quantise

PARAMETERS = (Parameter("a.lora_A.weight", (2, 3)), Parameter("a.lora_B.weight", (4, 1)))
ANNE, BEN = "0x" + "a1" * 20, "0x" + "b2" * 20


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=10).astype(np.float32) * 1e-3


@pytest.fixture
def index() -> ContributionIndex:
    return build(PARAMETERS, {BEN: vector(2), ANNE: vector(1)}, [vector(3)])


def test_rows_are_sorted_by_address_and_end_with_placebos(index: ContributionIndex) -> None:
    assert index.header.contributors == (ANNE, BEN)
    assert index.header.placebos == 1
    for number in range(3):
        assert index.row(number).to_bytes() == quantise(vector(number + 1), (6, 4)).to_bytes()


def test_file_round_trip_and_safetensors_reads_it(index: ContributionIndex, tmp_path: Path) -> None:
    path = tmp_path / "contribution_index.safetensors"
    path.write_bytes(index.to_bytes())
    opened = ContributionIndex.open(path)
    assert opened.header == index.header
    assert opened.to_bytes() == index.to_bytes()
    assert root(opened) == root(index)
    tensors = load_file(path)
    assert np.array_equal(tensors["vectors"], index.vectors)
    assert np.array_equal(tensors["exponents"], index.exponents)


def test_root_is_the_rfc6962_root_of_header_and_rows(index: ContributionIndex) -> None:
    header = canonical.dumps(
        {
            "version": "openledger.index.v1",
            "parameters": [{"name": "a.lora_A.weight", "shape": [2, 3]}, {"name": "a.lora_B.weight", "shape": [4, 1]}],
            "contributors": [ANNE, BEN],
            "placebos": 1,
        }
    )
    rows = [quantise(vector(seed), (6, 4)) for seed in (1, 2, 3)]
    leaves = [header] + [row.exponents.tobytes() + row.mantissas.tobytes() for row in rows]
    assert root(index) == merkle.root(leaves)


def test_any_changed_byte_is_refused_or_changes_the_root(index: ContributionIndex) -> None:
    data, expected = index.to_bytes(), root(index)
    accepted = 0
    for position in range(len(data)):
        for flip in (0x01, 0x29, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= flip
            try:
                changed = ContributionIndex.from_bytes(bytes(damaged))
            except ContributionIndexError:
                continue
            accepted += 1
            assert root(changed) != expected, f"byte {position}"
    assert accepted > 0


@pytest.mark.parametrize("length", (0, 7, 8, 100, -1))
def test_truncated_files_are_refused(index: ContributionIndex, length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(index.to_bytes()[:length])
    with pytest.raises(ContributionIndexError):
        ContributionIndex.open(path)


def test_appended_bytes_are_refused(index: ContributionIndex) -> None:
    with pytest.raises(ContributionIndexError, match="canonical form"):
        ContributionIndex.from_bytes(index.to_bytes() + b"\0")


@pytest.mark.parametrize(
    ("change", "reason"),
    (
        ({"version": "openledger.index.v2"}, "unknown index version"),
        ({"contributors": [BEN, ANNE]}, "sorted"),
        ({"contributors": [ANNE, ANNE]}, "sorted"),
        ({"contributors": [ANNE, "0xAB" + "0" * 38]}, "lower-case"),
        ({"contributors": 7}, "damaged"),
        ({"placebos": -1}, "not negative"),
        ({"placebos": True}, "not negative"),
        ({"placebos": 2}, "canonical form"),
        ({"parameters": []}, "present"),
        ({"parameters": [{"name": "a", "shape": [-10]}]}, "positive"),
        ({"parameters": [{"name": "a", "shape": [11]}]}, "canonical form"),
        ({"extra": 1}, "unknown fields"),
    ),
)
def test_bad_headers_are_refused(index: ContributionIndex, change: dict[str, object], reason: str) -> None:
    data = index.to_bytes()
    length = int.from_bytes(data[:8], "little")
    document = json.loads(data[8 : 8 + length])
    header = json.loads(document["__metadata__"]["header"]) | change
    document["__metadata__"]["header"] = canonical.dumps(header).decode()
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with pytest.raises(ContributionIndexError, match=reason):
        ContributionIndex.from_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def test_build_refuses_bad_addresses() -> None:
    with pytest.raises(ContributionIndexError, match="addresses"):
        build(PARAMETERS, {"anne": vector(1)})


def test_an_index_without_rows_is_possible() -> None:
    index = build(PARAMETERS, {})
    assert ContributionIndex.from_bytes(index.to_bytes()).header.rows == 0


def test_indexes_of_some_are_joined_to_what_one_of_all_would_be(tmp_path: Path) -> None:
    others = ["0x" + f"{byte:02x}" * 20 for byte in (0xC3, 0xD4)]
    people = dict(zip([ANNE, BEN, *others], map(vector, range(4)), strict=True))
    parts = [
        build(PARAMETERS, {who: people[who] for who in some}, placebos)
        for some, placebos in (([ANNE, BEN], [vector(8)]), (others, []), ([], [vector(9)]))
    ]
    for number, part in enumerate(parts):
        (tmp_path / str(number)).write_bytes(part.to_bytes())
    opened = [ContributionIndex.open(tmp_path / str(number)) for number in range(3)]
    assert b"".join(joined(opened)) == build(PARAMETERS, people, [vector(8), vector(9)]).to_bytes()


def test_what_does_not_fit_together_is_not_joined() -> None:
    one, other = (build(PARAMETERS, {who: vector(1)}) for who in (ANNE, BEN))
    for wrong in ([other, one], [one, one]):
        with pytest.raises(ContributionIndexError, match="sorted, distinct"):
            list(joined(wrong))
    with pytest.raises(ContributionIndexError, match="different layouts"):
        list(joined([one, build(PARAMETERS[:1], {BEN: vector(1)[:6]})]))


def test_rows_that_are_not_as_many_as_the_header_names_are_refused(index: ContributionIndex) -> None:
    for rows in (2, 4):
        with pytest.raises(ValueError, match="zip"):
            quantised(index.header, map(vector, range(rows)))
