from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from openledger import canonical
from openledger.influence.metric import Metric
from openledger.influence.parameters import Parameter
from openledger.influence.record_sketches import Header, RecordSketches, RecordSketchesError, Rows, encode

PARAMETERS = (Parameter("a.lora_A.weight", (2, 30)), Parameter("a.lora_B.weight", (40, 1)))
P = 100
ANNE, BEN, CLEO = ("0x" + two * 20 for two in ("a1", "b2", "c3"))
HEADER = Header("seed", 128, "adam", PARAMETERS, ((ANNE, 2), (BEN, 1), (CLEO, 3)))
METRIC = Metric.adam(np.geomspace(1e-8, 1e-2, P))
LEAVES = (3, 7, 5, 0, 1, 2**40)


def gradients(rows: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, P)).astype(np.float32)


def content() -> bytes:
    return b"".join(encode(HEADER, METRIC, [Rows.of(HEADER, METRIC, LEAVES, gradients())]))


def test_round_trip_and_safetensors_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "record_sketches.safetensors"
    path.write_bytes(content())
    opened = RecordSketches.open(path)
    assert opened.header == HEADER
    assert b"".join(encode(opened.header, opened.metric, [opened.rows])) == content() == content()
    tensors = load_file(path)
    assert tensors["leaves"].tolist() == list(LEAVES)
    assert tensors["signs"].shape == (6, 16)
    assert np.array_equal(tensors["metric"], METRIC.exponents)
    assert np.allclose(tensors["norms"], np.linalg.norm(gradients() * METRIC.factors**2, axis=1))


def test_rows_may_come_in_pieces_of_any_size() -> None:
    pieces = [Rows.of(HEADER, METRIC, LEAVES[a:b], gradients()[a:b]) for a, b in ((0, 1), (1, 4), (4, 6))]
    assert b"".join(encode(HEADER, METRIC, pieces)) == content()


def test_a_record_is_4096_bytes() -> None:
    header = Header("seed", 32_640, "gradient", PARAMETERS, ((ANNE, 6),))
    none = replace(header, contributors=())
    metric = Metric.gradient(P)
    whole = b"".join(encode(header, metric, [Rows.of(header, metric, range(6), gradients())]))
    empty = b"".join(encode(none, metric, []))
    assert 6 * 4096 <= len(whole) - len(empty) < 6 * 4096 + 128  # and a longer header


def test_a_contributors_rows() -> None:
    sketches = RecordSketches.from_bytes(content())
    assert [sketches.of(who).leaves.tolist() for who in (ANNE, BEN, CLEO)] == [[3, 7], [5], [0, 1, 2**40]]
    theirs = Rows.of(HEADER, METRIC, [5], gradients()[2:3])
    assert np.array_equal(sketches.of(BEN).signs.signs, theirs.signs.signs)
    assert len(sketches.of("0x" + "dd" * 20).signs) == 0


def test_one_record_and_none() -> None:
    one = replace(HEADER, contributors=((BEN, 1),))
    data = b"".join(encode(one, METRIC, [Rows.of(one, METRIC, [9], gradients()[:1])]))
    assert RecordSketches.from_bytes(data).of(BEN).leaves.tolist() == [9]
    none = replace(HEADER, contributors=())
    assert len(RecordSketches.from_bytes(b"".join(encode(none, METRIC, []))).rows.leaves) == 0


def test_without_a_record_it_is_as_if_it_had_not_been_there() -> None:
    sketches = RecordSketches.from_bytes(content())
    header, rows = sketches.without([5, 1, 12345])
    assert header.contributors == ((ANNE, 2), (CLEO, 2))
    kept = [0, 1, 3, 5]
    plain = Rows.of(header, METRIC, [LEAVES[i] for i in kept], gradients()[kept])
    assert b"".join(encode(header, METRIC, rows)) == b"".join(encode(header, METRIC, [plain]))


@pytest.mark.parametrize("cut", (0, 1, 8, 40, -1))
def test_a_file_cut_short_or_too_long_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "record_sketches.safetensors"
    path.write_bytes(content()[:cut])
    with pytest.raises(RecordSketchesError):
        RecordSketches.open(path)
    with pytest.raises(RecordSketchesError, match="too long"):
        RecordSketches.from_bytes(content() + b"\0")


def test_every_flipped_bit_before_the_rows_is_refused() -> None:
    data = content()
    for place in range(8 + struct.unpack("<Q", data[:8])[0]):
        flipped = bytearray(data)
        flipped[place] ^= 1
        try:
            read = RecordSketches.from_bytes(bytes(flipped))
        except RecordSketchesError:
            continue
        assert read.header != HEADER  # another seed or address: well formed, and not what was committed to


def rewritten(change: dict[str, object]) -> bytes:
    """The same rows under another header."""
    data = content()
    length = struct.unpack("<Q", data[:8])[0]
    document = json.loads(data[8 : 8 + length])
    header = json.loads(document["__metadata__"]["header"]) | change
    document["__metadata__"]["header"] = canonical.dumps(header).decode()
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    "change",
    (
        {"version": "openledger.record_sketches.v2"},
        {"seed": 5},
        {"seed": "s" * 300},
        {"bits": 100},
        {"bits": "128"},
        {"bits": 2**40},
        {"kind": "hessian"},
        {"kind": ["adam"]},
        {"more": 1},
        {"parameters": []},
        {"parameters": [{"name": "b", "shape": [1]}, {"name": "a", "shape": [1]}]},
        {"parameters": [{"name": "a", "shape": [0]}]},
        {"parameters": [{"name": "a", "shape": []}]},
        {"parameters": [{"name": "a", "shape": [2**50, 2**50]}]},
        {"parameters": [{"name": "a", "shape": [100], "size": 100}]},
        {"parameters": 7},
        {"contributors": [[BEN, 3], [ANNE, 3]]},
        {"contributors": [[ANNE, 3], [ANNE, 3]]},
        {"contributors": [[ANNE.upper(), 6]]},
        {"contributors": [[ANNE, 0], [BEN, 6]]},
        {"contributors": [[ANNE, -1], [BEN, 7]]},
        {"contributors": [[ANNE, True], [BEN, 5]]},
        {"contributors": [[ANNE, 2**53 - 1], [BEN, 2**53 - 1]]},
        {"contributors": [[ANNE, 5]]},
        {"contributors": [[None, 6]]},
        {"contributors": [ANNE]},
        {"contributors": None},
    ),
)
def test_headers_that_say_nonsense_are_refused(change: dict[str, object]) -> None:
    assert RecordSketches.from_bytes(rewritten({})).header == HEADER
    with pytest.raises(RecordSketchesError):
        RecordSketches.from_bytes(rewritten(change))


@pytest.mark.parametrize("leaves", ((7, 3, 5, 0, 1, 2), (3, 3, 5, 0, 1, 2), (3, 7, 5, 0, 1, 3), (3, 7, 5, 0, 1)))
def test_records_out_of_order_twice_or_missing_are_refused(leaves: tuple[int, ...]) -> None:
    with pytest.raises(RecordSketchesError, match=r"once each|do not fit"):
        list(encode(HEADER, METRIC, [Rows.of(HEADER, METRIC, leaves, gradients(len(leaves)))]))


@pytest.mark.parametrize("bad", (np.nan, np.inf, -1.0))
@pytest.mark.parametrize("column", ("norms", "scales"))
def test_lengths_that_are_none_are_refused(bad: float, column: str) -> None:
    data = bytearray(content())
    offset = {"norms": -P - 2 * 4 * 6, "scales": -P - 4 * 6}[column]
    data[offset : offset + 4] = struct.pack("<f", bad)
    with pytest.raises(RecordSketchesError, match="not a length"):
        RecordSketches.from_bytes(bytes(data))


def test_a_metric_of_another_kind_or_size_is_refused() -> None:
    rows = Rows.of(HEADER, METRIC, LEAVES, gradients())
    for metric in (Metric.gradient(P), Metric("adam", np.zeros(P - 1, dtype=np.int8))):
        with pytest.raises(RecordSketchesError, match="metric"):
            list(encode(HEADER, metric, [rows]))
