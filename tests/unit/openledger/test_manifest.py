from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.manifest import Base, LineageManifest, ManifestError, Snapshot, from_json, parse

SHA = "ab" * 32
ANNE, OWNER = "0x" + "a1" * 20, "0x" + "0c" * 20


def manifest(**changes: Any) -> LineageManifest:
    fields: dict[str, Any] = {
        "adapter": "rare-disease",
        "base": Base("smollm2-135m-instruct", SHA),
        "files": {
            "adapter_config.json": SHA,
            "adapter_model.safetensors": SHA,
            "contribution_index.safetensors": SHA,
        },
        "index_root": SHA,
        "snapshots": (Snapshot("datanets/hpo/snapshots/1", SHA),),
        "spec": {"rank": 8, "learning_rate": 0.001},
        "contributors": {ANNE: 10},
        "owner": OWNER,
        "metrics": {"loss_before": 3.5, "records": 10},
        "code": "openledger 0.1.0",
    }
    return LineageManifest(**(fields | changes))


def test_round_trip_and_revision_name() -> None:
    original = manifest()
    data = original.to_bytes()
    assert parse(data) == original
    assert original.digest == hashlib.sha256(data).hexdigest()
    assert original.revision == f"adapters/rare-disease/revisions/{original.digest}"
    assert json.loads(data)["version"] == "openledger.adapter.v1"


def test_every_field_counts_for_the_digest() -> None:
    changed = [
        manifest(adapter="other"),
        manifest(index_root="cd" * 32),
        manifest(contributors={ANNE: 11}),
        manifest(snapshots=()),
        manifest(metrics={}),
    ]
    assert len({m.digest for m in (manifest(), *changed)}) == 6


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    (
        ("version", "openledger.adapter.v2", "version"),
        ("adapter", "Rare", "adapter must be"),
        ("adapter", "a/b", "adapter must be"),
        ("adapter", 7, "adapter must be a string"),
        ("owner", OWNER.upper(), "owner"),
        ("owner", OWNER + "\n", "owner"),
        ("index_root", SHA[:-1], "index_root"),
        ("base", {"name": "x"}, "base must have exactly"),
        ("base", {"name": "", "sha256": SHA}, "base.name"),
        ("base", {"name": "x", "sha256": "no"}, "base.sha256"),
        ("files", {"adapter_config.json": SHA}, "files must have exactly"),
        ("snapshots", [{"name": "x", "root": "no"}], r"snapshots\[0\].root"),
        ("snapshots", [7], r"snapshots\[0\] must be a JSON object"),
        ("contributors", {}, "contributors must not be empty"),
        ("contributors", {"0xA": 1}, "contributors.0xA"),
        ("contributors", {ANNE: 0}, "positive"),
        ("contributors", {ANNE: True}, "positive"),
        ("spec", {"x": float("nan")}, "spec.x must be a finite number"),
        ("spec", {"x": [2**60]}, r"spec.x\[0\] must be below"),
        ("metrics", {"x": "1"}, "metrics.x must be a number"),
        ("metrics", {"x": float("inf")}, "metrics.x"),
        ("code", "", "code"),
        ("extra", 1, "exactly the fields"),
    ),
)
def test_bad_fields_are_refused_by_name(field: str, value: object, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        from_json(manifest().to_json() | {field: value})


@pytest.mark.parametrize("missing", sorted(manifest().to_json()))
def test_missing_fields_are_refused(missing: str) -> None:
    document = manifest().to_json()
    del document[missing]
    with pytest.raises(ManifestError, match="exactly the fields"):
        from_json(document)


def test_other_spellings_are_refused() -> None:
    data = manifest().to_bytes()
    spaced = json.dumps(json.loads(data)).encode()
    twice = data[:-1] + b',"version":"openledger.adapter.v1"}'
    for other in (spaced, twice, data + b"\n"):
        with pytest.raises(ManifestError, match="canonical"):
            parse(other)


def test_deep_nesting_is_refused() -> None:
    nested: Any = 1
    for _ in range(400):
        nested = [nested]
    with pytest.raises(ManifestError, match="nested too deeply"):
        from_json(manifest().to_json() | {"spec": {"x": nested}})
    with pytest.raises(ManifestError):
        parse(b"[" * 100_000)


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_arbitrary_bytes_are_refused_cleanly(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse(data)


def test_an_invalid_manifest_has_no_bytes() -> None:
    with pytest.raises(ManifestError, match="owner"):
        manifest(owner="me").to_bytes()
    with pytest.raises(ManifestError, match="canonical JSON cannot"):
        manifest(code="\ud800").to_bytes()
