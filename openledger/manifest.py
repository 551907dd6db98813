"""The lineage manifest of an adapter revision: what it was made from, by which rules, and who contributed.

A revision's name is the SHA-256 of this document's canonical JSON. It holds no timestamps and no paths: the same
data, base and specification give the same name. ``parse`` trusts nothing. This module reads no files and checks no
digest against one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openledger import canonical

VERSION = "openledger.adapter.v1"
FILES = ("adapter_config.json", "adapter_model.safetensors", "contribution_index.safetensors")
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 16

ADDRESS = re.compile(r"0x[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
ADAPTER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
FIELDS = {
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


class ManifestError(ValueError):
    """The document is not a valid lineage manifest; the message names the field."""


@dataclass(frozen=True)
class Base:
    """A base model by name and by the SHA-256 of its model.safetensors."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A datanet snapshot by resource name and Merkle root (hex)."""

    name: str
    root: str


@dataclass(frozen=True)
class LineageManifest:
    """files: name -> SHA-256; contributors: lower-case address -> records trained on; spec, metrics: JSON objects."""

    adapter: str
    base: Base
    files: Mapping[str, str]
    index_root: str
    snapshots: tuple[Snapshot, ...]
    spec: Mapping[str, Any]
    contributors: Mapping[str, int]
    owner: str
    metrics: Mapping[str, int | float]
    code: str

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "version": VERSION,
            "adapter": self.adapter,
            "base": {"name": self.base.name, "sha256": self.base.sha256},
            "files": dict(self.files),
            "index_root": self.index_root,
            "snapshots": [{"name": snapshot.name, "root": snapshot.root} for snapshot in self.snapshots],
            "spec": dict(self.spec),
            "contributors": dict(self.contributors),
            "owner": self.owner,
            "metrics": dict(self.metrics),
            "code": self.code,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON. Raises ManifestError where a field is not valid."""
        document = self.to_json()
        from_json(document)
        try:
            return canonical.dumps(document)
        except ValueError as error:
            raise ManifestError(f"the manifest holds what canonical JSON cannot: {error}") from error

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes: the revision's id."""
        return canonical.sha256(self.to_bytes())

    @property
    def revision(self) -> str:
        """The revision's resource name."""
        return f"adapters/{self.adapter}/revisions/{self.digest}"


def parse(data: bytes) -> LineageManifest:
    """Read a manifest's bytes, which must be canonical: two spellings of one document would have two names.

    Raises ManifestError.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"the manifest has {len(data)} bytes, at most {MAX_BYTES} are allowed")
    try:
        document = canonical.parse_json(data)
    except ValueError as error:
        raise ManifestError(f"the manifest is not JSON: {error}") from error
    manifest = from_json(document)
    if manifest.to_bytes() != data:
        raise ManifestError("the manifest is not canonical JSON (RFC 8785)")
    return manifest


def from_json(document: Any) -> LineageManifest:
    """Validate an untrusted JSON value. Raises ManifestError naming the first field that is wrong."""
    _shape(document, FIELDS, "manifest")
    _require(document["version"] == VERSION, "version", f"must be {VERSION!r}")
    _require(ADAPTER.fullmatch(document["adapter"]), "adapter", "must be 1-63 of a-z, 0-9 and inner '-'")
    _require(ADDRESS.fullmatch(document["owner"]), "owner", "must be a lower-case 0x address")
    _require(SHA256.fullmatch(document["index_root"]), "index_root", "must be 64 lower-case hex digits")
    _require(0 < len(document["code"]) <= 200, "code", "must name the code that made the adapter")
    _json_numbers(document["spec"], "spec")
    for name, value in document["metrics"].items():
        _require(type(value) in (int, float), f"metrics.{name}", "must be a number")
    _json_numbers(document["metrics"], "metrics")
    return LineageManifest(
        adapter=document["adapter"],
        base=_base(document["base"]),
        files=_files(document["files"]),
        index_root=document["index_root"],
        snapshots=tuple(_snapshot(entry, f"snapshots[{i}]") for i, entry in enumerate(document["snapshots"])),
        spec=document["spec"],
        contributors=_contributors(document["contributors"]),
        owner=document["owner"],
        metrics=document["metrics"],
        code=document["code"],
    )


def _require(condition: object, field: str, rule: str) -> None:
    if not condition:
        raise ManifestError(f"{field} {rule}")


def _shape(value: Any, fields: Mapping[str, type], where: str) -> None:
    """An object with exactly these fields of these types."""
    kinds: dict[type, str] = {str: "a string", dict: "an object", list: "a list"}
    _require(isinstance(value, dict), where, "must be a JSON object")
    _require(value.keys() == fields.keys(), where, f"must have exactly the fields {', '.join(sorted(fields))}")
    for name, kind in fields.items():
        _require(
            type(value[name]) is kind, name if where == "manifest" else f"{where}.{name}", f"must be {kinds[kind]}"
        )


def _base(value: Any) -> Base:
    _shape(value, {"name": str, "sha256": str}, "base")
    _require(value["name"], "base.name", "must not be empty")
    _require(SHA256.fullmatch(value["sha256"]), "base.sha256", "must be 64 lower-case hex digits")
    return Base(value["name"], value["sha256"])


def _snapshot(value: Any, where: str) -> Snapshot:
    _shape(value, {"name": str, "root": str}, where)
    _require(value["name"], f"{where}.name", "must not be empty")
    _require(SHA256.fullmatch(value["root"]), f"{where}.root", "must be 64 lower-case hex digits")
    return Snapshot(value["name"], value["root"])


def _files(value: Any) -> dict[str, str]:
    _shape(value, dict.fromkeys(FILES, str), "files")
    for name, digest in value.items():
        _require(SHA256.fullmatch(digest), f"files.{name}", "must be 64 lower-case hex digits")
    return dict(value)


def _contributors(value: dict[Any, Any]) -> dict[str, int]:
    _require(value, "contributors", "must not be empty")
    for address, records in value.items():
        _require(ADDRESS.fullmatch(address), f"contributors.{address}", "must be a lower-case 0x address")
        _require(
            type(records) is int and 0 < records < 2**53, f"contributors.{address}", "must be a positive whole number"
        )
    return value


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
