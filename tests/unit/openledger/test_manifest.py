from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical
from openledger.client import Wallet
from openledger.manifest import (
    Attribution,
    Base,
    Combined,
    LineageManifest,
    ManifestError,
    Replaces,
    Snapshot,
    Source,
    from_json,
    imported_prefix,
    parse,
    sign,
)

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


def test_manifests_of_before_licences_keep_their_names() -> None:
    assert manifest().digest == "ea141f48607005c1207b13624f43f754448239878f56cf0f3481efb32f05dca8"


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
        ("version", "openledger.adapter.v4", "version"),
        ("version", ["openledger.adapter.v1"], "version"),
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


# --- version 2: terms, more files, a signature ------------------------------------------------------------------------

FACTORY, OTHER = Wallet("0x" + "11" * 32), Wallet("0x" + "22" * 32)


def terms(**changes: Any) -> LineageManifest:
    values: dict[str, Any] = {
        "licence": "CC-BY-SA-4.0",
        "attributions": (Attribution("datanets/hpo/snapshots/1", "CC-BY-4.0", "the consortium"),),
        "use": "commercial",
        "files": dict(manifest().files) | {"evaluation.json": "cd" * 32},
        "evaluation": "cd" * 32,
    }
    return manifest(**(values | changes))


def test_a_signed_manifest_comes_back_with_its_signer() -> None:
    signed = sign(terms(), FACTORY.private_key)
    assert signed.signer == FACTORY.address
    assert parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["version"] == "openledger.adapter.v2"
    assert sign(terms(), FACTORY.private_key) == signed, "the same key gives the same bytes"
    assert sign(signed, FACTORY.private_key) == signed
    assert sign(terms(), OTHER.private_key).digest != signed.digest


@pytest.mark.parametrize(
    "change",
    (
        {"licence": "MIT"},
        {"use": "non-commercial"},
        {"attributions": []},
        {"evaluation": ""},
        {"signer": OTHER.address},
        {"owner": ANNE},
        {"metrics": {"loss_before": 1.5}},
        {"files": dict(terms().files) | {"curves.png": SHA}},
        {"signature": "0x" + "00" * 65},
        {"signature": "0x" + "1" * 128 + "1b"},
        {"signature": ""},
        {"signature": sign(terms(), OTHER.private_key).signature},
    ),
)
def test_what_was_changed_after_it_was_signed_does_not_parse(change: dict[str, Any]) -> None:
    document = sign(terms(), FACTORY.private_key).to_json() | change
    with pytest.raises(ManifestError, match="signature"):
        parse(canonical.dumps(document))


def test_a_manifest_with_terms_and_no_signature_does_not_parse() -> None:
    with pytest.raises(ManifestError, match="signer"):
        terms().to_bytes()


def test_a_manifest_without_terms_cannot_be_signed() -> None:
    with pytest.raises(ManifestError, match="licence"):
        sign(manifest(), FACTORY.private_key)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    (
        ("licence", "", "licence"),
        ("use", "any", "use must be commercial or non-commercial"),
        ("evaluation", "ef" * 32, "evaluation must be the SHA-256 of one of the files"),
        ("files", {"evaluation.json": SHA}, "files must name adapter_config.json"),
        ("files", dict(terms().files) | {"../x": SHA}, "plain file name"),
        ("files", dict(terms().files) | {".hidden": SHA}, "plain file name"),
        ("files", dict(terms().files) | {"x": "no"}, "files.x"),
        ("files", dict(terms().files) | {"x": 7}, "files.x"),
        ("files", dict(terms().files) | {f"f{i}": SHA for i in range(64)}, "at most 64"),
        ("attributions", [{"source": "x"}], r"attributions\[0\] must have exactly"),
        ("attributions", "x", "attributions must be a list"),
        ("signer", "me", "signer"),
        ("extra", 1, "exactly the fields"),
    ),
)
def test_bad_terms_are_refused_by_name(field: str, value: object, reason: str) -> None:
    document = sign(terms(), FACTORY.private_key).to_json() | {field: value}
    with pytest.raises(ManifestError, match=reason):
        from_json(document)
    if field in {"licence", "use", "evaluation", "files"}:
        with pytest.raises(ManifestError):
            sign(terms(**{field: value}), FACTORY.private_key)


def test_the_new_fields_do_not_belong_into_an_old_manifest() -> None:
    with pytest.raises(ManifestError, match="exactly the fields"):
        from_json(manifest().to_json() | {"licence": "MIT"})


# --- version 3: private files -----------------------------------------------------------------------------------------

PRIVATE = {"span_index.safetensors": "ef" * 32}


def test_private_files_are_committed_to_and_are_none_of_the_files() -> None:
    signed = sign(terms(private_files=PRIVATE), FACTORY.private_key)
    assert parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["version"] == "openledger.adapter.v3"
    assert signed.private_files == PRIVATE
    assert not PRIVATE.keys() & signed.files.keys()
    assert signed.digest != sign(terms(), FACTORY.private_key).digest
    changed = signed.to_json() | {"private_files": {"span_index.safetensors": SHA}}
    with pytest.raises(ManifestError, match="signature"):
        parse(canonical.dumps(changed))


@pytest.mark.parametrize(
    ("value", "reason"),
    (
        ({}, "private_files must not be empty"),
        ([], "private_files must be an object"),
        ({"../x": SHA}, "plain file name"),
        ({"x": "no"}, "private_files.x"),
        ({f"f{i}": SHA for i in range(65)}, "at most 64"),
    ),
)
def test_bad_private_files_are_refused(value: object, reason: str) -> None:
    document = sign(terms(private_files=PRIVATE), FACTORY.private_key).to_json() | {"private_files": value}
    with pytest.raises(ManifestError, match=reason):
        from_json(document)


def test_private_files_belong_into_no_older_manifest() -> None:
    for older in (manifest(), sign(terms(), FACTORY.private_key)):
        with pytest.raises(ManifestError, match="exactly the fields"):
            from_json(older.to_json() | {"private_files": PRIVATE})
    with pytest.raises(ManifestError, match="exactly the fields"):
        manifest(private_files=PRIVATE).to_bytes()


# --- version 4: what it replaces --------------------------------------------------------------------------------------

OLD, GONE = "adapters/{}/revisions/" + "0" * 64, "0x" + "77" * 20


def replacing(**changes: object) -> LineageManifest:
    return terms(replaces=Replaces(OLD.format(terms().adapter), (GONE,)), **changes)


@pytest.mark.parametrize("private", ({}, PRIVATE), ids=("", "private"))
def test_what_it_replaces_and_without_whom_is_part_of_its_name(private: dict[str, str]) -> None:
    signed = sign(replacing(private_files=private), FACTORY.private_key)
    assert parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["version"] == "openledger.adapter.v4"
    assert signed.digest != sign(terms(private_files=private), FACTORY.private_key).digest


@pytest.mark.parametrize(
    ("value", "reason"),
    (
        ([], "replaces must be an object"),
        ({"revision": "x"}, "replaces must have exactly the fields"),
        ({"revision": OLD.format("another"), "without": [GONE]}, "replaces.revision must be a revision of the same"),
        ({"revision": "x", "without": [GONE]}, "replaces.revision"),
        ({"without": []}, "replaces.without"),
        ({"without": ["me"]}, "replaces.without"),
        ({"without": [7]}, "replaces.without"),
        ({"without": [GONE, GONE]}, "sorted, each address once"),
        ({"without": [next(iter(terms().contributors))]}, "must not have those who are left out"),
    ),
)
def test_bad_replacements_are_refused(value: object, reason: str) -> None:
    document = sign(replacing(), FACTORY.private_key).to_json()
    if isinstance(value, dict) and "without" in value:
        value = document["replaces"] | value
    with pytest.raises(ManifestError, match=reason):
        from_json(document | {"replaces": value})


# --- version 5: made elsewhere ----------------------------------------------------------------------------------------


def imported(**changes: object) -> LineageManifest:
    own = {
        "adapter": imported_prefix(FACTORY.address) + "poems",
        "owner": FACTORY.address,
        "contributors": {},
        "snapshots": (),
        "source": Source("imported"),
    }
    return terms(**(own | changes))


def test_what_was_made_elsewhere_is_signed_by_its_owner_and_names_nobody() -> None:
    signed = sign(imported(), FACTORY.private_key)
    assert parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["version"] == "openledger.adapter.v5"
    assert (signed.signer, signed.contributors) == (signed.owner, {})
    with pytest.raises(ManifestError, match="signer must be the owner"):
        sign(imported(), OTHER.private_key).to_bytes()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    (
        ("source", {}, "source must have exactly the fields kind"),
        ("source", {"kind": "found"}, "source.kind must be 'imported'"),
        ("contributors", {ANNE: 1}, "contributors must be empty"),
        ("snapshots", [{"name": "datanets/hpo/snapshots/1", "root": SHA}], "snapshots must be empty"),
        ("owner", OTHER.address, "signer must be the owner"),
        ("adapter", imported_prefix(OTHER.address) + "poems", "adapter must begin with 'i-"),
        ("adapter", "poems", "adapter must begin with 'i-"),
        ("private_files", PRIVATE, "exactly the fields"),
    ),
)
def test_bad_imports_are_refused_by_name(field: str, value: object, reason: str) -> None:
    document = sign(imported(), FACTORY.private_key).to_json() | {field: value}
    with pytest.raises(ManifestError, match=reason):
        from_json(document)


def test_an_import_replaces_nothing_and_keeps_nothing_private() -> None:
    for changes in ({"private_files": PRIVATE}, {"replaces": Replaces(OLD.format(imported().adapter), (GONE,))}):
        with pytest.raises(ManifestError, match="exactly the fields"):
            sign(imported(**changes), FACTORY.private_key)


# --- version 6: the weighted sum of others ----------------------------------------------------------------------------

ONE, TWO = (f"adapters/{name}/revisions/{digit * 64}" for name, digit in (("herbs", "1"), ("trees", "2")))


def combining(**changes: object) -> LineageManifest:
    return terms(**({"combines": (Combined(ONE, 7_000), Combined(TWO, 3_000)), "spec": {}, "metrics": {}} | changes))


def test_what_it_is_the_sum_of_and_how_much_of_each_is_part_of_its_name() -> None:
    signed = sign(combining(), FACTORY.private_key)
    assert parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["version"] == "openledger.adapter.v6"
    other = sign(combining(combines=(Combined(ONE, 7_001), Combined(TWO, 3_000))), FACTORY.private_key)
    assert other.digest != signed.digest


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    (
        ("combines", {}, "combines must be a list"),
        ("combines", [], "combines must name 2 to 8 revisions"),
        ("combines", [{"revision": ONE, "weight_bps": 1}], "combines must name 2 to 8 revisions"),
        ("combines", [{"revision": f"adapters/a/revisions/{n:064x}", "weight_bps": 1} for n in range(9)], "2 to 8"),
        ("combines", [{"revision": ONE}, {"revision": TWO}], r"combines\[0\] must have exactly the fields"),
        ("combines", [{"revision": name, "weight_bps": 1} for name in (TWO, ONE)], "sorted by revision"),
        ("combines", [{"revision": ONE, "weight_bps": n} for n in (1, 2)], "each named once"),
        ("combines", [{"revision": "herbs", "weight_bps": 1}] * 2, r"combines\[0\].revision must be the name"),
        ("combines", [{"revision": ONE, "weight_bps": 0}] * 2, r"combines\[0\].weight_bps must be 1 to 100000"),
        ("combines", [{"revision": ONE, "weight_bps": 100_001}] * 2, "weight_bps must be 1 to 100000"),
        ("combines", [{"revision": ONE, "weight_bps": 0.7}] * 2, "weight_bps must be a whole number"),
        ("combines", [{"revision": ONE, "weight_bps": True}] * 2, "weight_bps must be a whole number"),
        ("spec", {"rank": 8}, "spec must be empty"),
        ("metrics", {"steps": 1}, "metrics must be empty"),
        ("contributors", {}, "contributors must not be empty"),
    ),
)
def test_bad_combinations_are_refused_by_name(field: str, value: object, reason: str) -> None:
    document = sign(combining(), FACTORY.private_key).to_json() | {field: value}
    with pytest.raises(ManifestError, match=reason):
        from_json(document)


def test_a_combination_is_nothing_else() -> None:
    elsewhere = (
        {"private_files": PRIVATE},
        {"replaces": Replaces(OLD.format("a"), (GONE,))},
        {"source": Source("imported")},
    )
    for changes in elsewhere:
        with pytest.raises(ManifestError, match="exactly the fields"):
            sign(combining(**changes), FACTORY.private_key)
