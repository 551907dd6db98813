"""What every field of a lineage manifest must be, for documents that nobody vouches for.

Six versions are read: `openledger.adapter.v1`; `openledger.adapter.v2`, which adds licence, attributions, use,
evaluation, further files and a signature; `openledger.adapter.v3`, which adds private files; `openledger.adapter.v4`,
which adds what it replaces; `openledger.adapter.v5`, which is version 2 and says that the adapter was made elsewhere;
and `openledger.adapter.v6`, which is version 2 and says which revisions it is the weighted sum of.  Knows nothing of
where the document is from or what its digests stand for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6 = (f"openledger.adapter.v{n}" for n in range(1, 7))
FILES = ("adapter_config.json", "adapter_model.safetensors", "contribution_index.safetensors")
MAX_DEPTH, MAX_FILES = 16, 64
USES = ("commercial", "non-commercial")
IMPORTED = "imported"
FEWEST_PARENTS, MOST_PARENTS = 2, 8
WEIGHT_ONE = 10_000
"""Of a combination: weights are whole numbers of this part of 1, exact in every language."""
MOST_WEIGHT = 10 * WEIGHT_ONE

REVISION = re.compile(r"adapters/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/revisions/[0-9a-f]{64}")
ADDRESS = re.compile(r"0x[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
ADAPTER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FIELDS_1: dict[str, type] = {
    "version": str,
    "adapter": str,
    "base": dict,
    "files": dict,
    "index_root": str,
    "snapshots": list,
    "spec": dict,
    "contributors": dict,
    "owner": str,
    "metrics": dict,
    "code": str,
}
FIELDS_2: dict[str, type] = FIELDS_1 | {
    "licence": str,
    "attributions": list,
    "use": str,
    "evaluation": str,
    "signer": str,
    "signature": str,
}
FIELDS_3: dict[str, type] = FIELDS_2 | {"private_files": dict}
FIELDS_4: dict[str, type] = FIELDS_3 | {"replaces": dict}
FIELDS_5: dict[str, type] = FIELDS_2 | {"source": dict}
FIELDS_6: dict[str, type] = FIELDS_2 | {"combines": list}
FIELDS = {
    VERSION_1: FIELDS_1,
    VERSION_2: FIELDS_2,
    VERSION_3: FIELDS_3,
    VERSION_4: FIELDS_4,
    VERSION_5: FIELDS_5,
    VERSION_6: FIELDS_6,
}


class ManifestError(ValueError):
    """The document is not a valid lineage manifest; the message names the field."""


def imported_prefix(owner: str) -> str:
    """How the name of every adapter begins that an account brings from elsewhere.  owner: a lower-case address.

    64 bits of the address: nobody finds another key whose names begin so.
    """
    return f"i-{owner.removeprefix('0x')[:16]}-"


def check(document: Any) -> None:
    """Raises ManifestError naming the first field that is wrong.  Does not check the signature."""
    version = document.get("version") if isinstance(document, dict) else None
    known = isinstance(version, str) and version in FIELDS
    _shape(document, FIELDS[str(version)] if known else FIELDS_1, "manifest")
    _require(known, "version", f"must be one of {', '.join(FIELDS)}")
    _require(ADAPTER.fullmatch(document["adapter"]), "adapter", "must be 1-63 of a-z, 0-9 and inner '-'")
    _require(ADDRESS.fullmatch(document["owner"]), "owner", "must be a lower-case 0x address")
    _require(SHA256.fullmatch(document["index_root"]), "index_root", "must be 64 lower-case hex digits")
    _require(0 < len(document["code"]) <= 200, "code", "must name the code that made the adapter")
    _json_numbers(document["spec"], "spec")
    for name, value in document["metrics"].items():
        _require(type(value) in (int, float), f"metrics.{name}", "must be a number")
    _json_numbers(document["metrics"], "metrics")
    _base(document["base"])
    for i, entry in enumerate(document["snapshots"]):
        _snapshot(entry, f"snapshots[{i}]")
    if version != VERSION_5:
        _contributors(document["contributors"])
    if version == VERSION_1:
        _files(document["files"])
        return
    _more_files(document["files"])
    _terms(document)
    if version == VERSION_3:
        _private_files(document["private_files"])
    if version == VERSION_4:
        _named(document["private_files"], "private_files")
        _replaces(document)
    if version == VERSION_5:
        _source(document)
    if version == VERSION_6:
        _combines(document)


def _require(condition: object, field: str, rule: str) -> None:
    if not condition:
        raise ManifestError(f"{field} {rule}")


def _shape(value: Any, fields: Mapping[str, type], where: str) -> None:
    """An object with exactly these fields of these types."""
    kinds: dict[type, str] = {str: "a string", dict: "an object", list: "a list", int: "a whole number"}
    _require(isinstance(value, dict), where, "must be a JSON object")
    _require(value.keys() == fields.keys(), where, f"must have exactly the fields {', '.join(sorted(fields))}")
    for name, kind in fields.items():
        _require(
            type(value[name]) is kind, name if where == "manifest" else f"{where}.{name}", f"must be {kinds[kind]}"
        )


def _base(value: Any) -> None:
    _shape(value, {"name": str, "sha256": str}, "base")
    _require(value["name"], "base.name", "must not be empty")
    _require(SHA256.fullmatch(value["sha256"]), "base.sha256", "must be 64 lower-case hex digits")


def _snapshot(value: Any, where: str) -> None:
    _shape(value, {"name": str, "root": str}, where)
    _require(value["name"], f"{where}.name", "must not be empty")
    _require(SHA256.fullmatch(value["root"]), f"{where}.root", "must be 64 lower-case hex digits")


def _files(value: Any) -> None:
    _shape(value, dict.fromkeys(FILES, str), "files")
    for name, digest in value.items():
        _require(SHA256.fullmatch(digest), f"files.{name}", "must be 64 lower-case hex digits")


def _more_files(value: dict[Any, Any]) -> None:
    missing = [name for name in FILES if name not in value]
    _require(not missing, "files", f"must name {', '.join(FILES)}")
    _named(value, "files")


def _private_files(value: dict[Any, Any]) -> None:
    _require(value, "private_files", "must not be empty: a manifest without them is of version 2")
    _named(value, "private_files")


def _replaces(document: dict[str, Any]) -> None:
    value = document["replaces"]
    _shape(value, {"revision": str, "without": list}, "replaces")
    found = REVISION.fullmatch(value["revision"])
    _require(found and found[1] == document["adapter"], "replaces.revision", "must be a revision of the same adapter")
    without = value["without"]
    addresses = all(isinstance(who, str) and ADDRESS.fullmatch(who) for who in without)
    _require(without and addresses, "replaces.without", "must be lower-case 0x addresses")
    _require(without == sorted(set(without)), "replaces.without", "must be sorted, each address once")
    trained = sorted(set(without) & set(document["contributors"]))
    _require(not trained, "contributors", f"must not have those who are left out: {', '.join(trained)[:100]}")


def _source(document: dict[str, Any]) -> None:
    """An adapter from elsewhere: nobody's records are known to be in it, and its owner alone answers for it."""
    _shape(document["source"], {"kind": str}, "source")
    _require(document["source"]["kind"] == IMPORTED, "source.kind", f"must be {IMPORTED!r}")
    for name in ("contributors", "snapshots"):
        _require(not document[name], name, "must be empty: what an imported adapter was trained on is not known here")
    _require(document["signer"] == document["owner"], "signer", "must be the owner of an imported adapter")
    prefix = imported_prefix(document["owner"])
    _require(
        document["adapter"].startswith(prefix), "adapter", f"must begin with {prefix!r}, since its owner imported it"
    )


def _combines(document: dict[str, Any]) -> None:
    """A weighted sum: it was not trained itself, and its contributors are those of the revisions that it names."""
    parents = document["combines"]
    count = f"must name {FEWEST_PARENTS} to {MOST_PARENTS} revisions"
    _require(FEWEST_PARENTS <= len(parents) <= MOST_PARENTS, "combines", count)
    for i, parent in enumerate(parents):
        where = f"combines[{i}]"
        _shape(parent, {"revision": str, "weight_bps": int}, where)
        _require(REVISION.fullmatch(parent["revision"]), f"{where}.revision", "must be the name of a revision")
        _require(0 < parent["weight_bps"] <= MOST_WEIGHT, f"{where}.weight_bps", f"must be 1 to {MOST_WEIGHT}")
    named = [parent["revision"] for parent in parents]
    _require(named == sorted(set(named)), "combines", "must be sorted by revision, each named once")
    for name in ("spec", "metrics"):
        _require(not document[name], name, "must be empty: a combination is not trained")


def _named(value: dict[Any, Any], where: str) -> None:
    _require(len(value) <= MAX_FILES, where, f"must be at most {MAX_FILES}")
    for name, digest in value.items():
        _require(FILE_NAME.fullmatch(name), f"{where}.{name[:100]}", "must be a plain file name")
        _require(
            isinstance(digest, str) and SHA256.fullmatch(digest), f"{where}.{name}", "must be 64 lower-case hex digits"
        )


def _terms(document: dict[str, Any]) -> None:
    _require(0 < len(document["licence"]) <= 1000, "licence", "must be an SPDX expression")
    _require(document["use"] in USES, "use", f"must be {' or '.join(USES)}")
    for i, entry in enumerate(document["attributions"]):
        _shape(entry, {"source": str, "licence": str, "notice": str}, f"attributions[{i}]")
    published = document["evaluation"] == "" or document["evaluation"] in document["files"].values()
    _require(published, "evaluation", "must be the SHA-256 of one of the files, or empty")
    _require(ADDRESS.fullmatch(document["signer"]), "signer", "must be a lower-case 0x address")


def _contributors(value: dict[Any, Any]) -> None:
    _require(value, "contributors", "must not be empty")
    for address, records in value.items():
        _require(ADDRESS.fullmatch(address), f"contributors.{address}", "must be a lower-case 0x address")
        _require(
            type(records) is int and 0 < records < 2**53, f"contributors.{address}", "must be a positive whole number"
        )


def _json_numbers(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what canonical JSON cannot hold: NaN, infinity, and whole numbers that a double would round."""
    _require(depth <= MAX_DEPTH, where, "is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            _require(isinstance(key, str), where, "must have string keys")
            _json_numbers(inner, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _json_numbers(inner, f"{where}[{i}]", depth + 1)
    elif isinstance(value, float):
        _require(math.isfinite(value), where, "must be a finite number")
    elif isinstance(value, int):
        _require(abs(value) < 2**53, where, "must be below 2**53 in size (write larger numbers as strings)")
    else:
        _require(value is None or isinstance(value, str), where, "must be a JSON value")
