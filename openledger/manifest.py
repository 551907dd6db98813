"""The lineage manifest of an adapter revision: what it was made from, by which rules, who contributed, on what terms.

A revision's name is the SHA-256 of this document's canonical JSON. It holds no timestamps and no paths: the same
data, base and specification give the same document, signed by the factory that made it. ``parse`` trusts nothing, and
checks the signature; whether the signer's word counts is its caller's to say. Manifests of version 1, which have no
signature and no terms, of version 2, which have no private files, and of version 3, which replace nothing, stay valid.
One of version 5 was not made by a factory: its owner signed it, and brought the adapter from elsewhere. One of version
6 is the weighted sum of others. This module reads no files and checks no digest against one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openledger import canonical, signed_document
from openledger.manifest_rules import (
    FILES,
    IMPORTED,
    VERSION_1,
    VERSION_2,
    VERSION_3,
    VERSION_4,
    VERSION_5,
    VERSION_6,
    ManifestError,
    check,
    imported_prefix,
)

__all__ = [
    "FILES",
    "IMPORTED",
    "Attribution",
    "Base",
    "Combined",
    "LineageManifest",
    "ManifestError",
    "Replaces",
    "Snapshot",
    "Source",
    "from_json",
    "imported_prefix",
    "parse",
    "sign",
]

MAX_BYTES = 16 * 2**20


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
class Attribution:
    """Who must be named beside the adapter: a source (resource name), its SPDX licence, and the words asked for."""

    source: str
    licence: str
    notice: str


@dataclass(frozen=True)
class Replaces:
    """A revision whose run this one takes again, and the lower-case addresses of whom it leaves out, sorted."""

    revision: str
    without: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where an adapter is from that no factory trained: `IMPORTED`, so nobody here saw what it was trained on."""

    kind: str


@dataclass(frozen=True, order=True)
class Combined:
    """A revision that is a term of a weighted sum, and its weight in 1/10,000."""

    revision: str
    weight_bps: int


@dataclass(frozen=True)
class LineageManifest:
    """files: name -> SHA-256; contributors: lower-case address -> records trained on; spec, metrics: JSON objects.

    From ``licence`` on: version 2 alone, as soon as there is a licence. ``evaluation`` is the SHA-256 of the one of
    the files that reports what was measured before publishing, "" for none; ``signer`` is a lower-case address.
    ``private_files``: name -> SHA-256 of what belongs to the revision and is never published, since people's texts
    are in it; version 3, as soon as there is one. ``replaces``: version 4, as soon as there is one. ``source``:
    version 5, where no factory trained it; then there are no contributors, and no private files. ``combines``: version
    6, where it is the weighted sum of these, sorted; its contributors' records are then those of all of them together.
    """

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
    licence: str = ""
    attributions: tuple[Attribution, ...] = ()
    use: str = ""
    evaluation: str = ""
    signer: str = ""
    signature: str = ""
    private_files: Mapping[str, str] = field(default_factory=dict)
    replaces: Replaces | None = None
    source: Source | None = None
    combines: tuple[Combined, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document."""
        document = {
            "version": self._version(),
            "adapter": self.adapter,
            "base": vars(self.base),
            "files": dict(self.files),
            "index_root": self.index_root,
            "snapshots": [vars(snapshot) for snapshot in self.snapshots],
            "spec": dict(self.spec),
            "contributors": dict(self.contributors),
            "owner": self.owner,
            "metrics": dict(self.metrics),
            "code": self.code,
        }
        if self.licence:
            document["attributions"] = [vars(attribution) for attribution in self.attributions]
            later = ("licence", "use", "evaluation", "signer", "signature")
            document |= {name: getattr(self, name) for name in later}
        if self.private_files or self.replaces:
            document["private_files"] = dict(self.private_files)
        if self.replaces:
            document["replaces"] = {"revision": self.replaces.revision, "without": list(self.replaces.without)}
        if self.source:
            document["source"] = vars(self.source)
        if self.combines:
            document["combines"] = [vars(parent) for parent in self.combines]
        return document

    def _version(self) -> str:
        if self.combines:
            return VERSION_6
        if self.source:
            return VERSION_5
        if self.replaces:
            return VERSION_4
        return VERSION_3 if self.private_files else VERSION_2 if self.licence else VERSION_1

    def to_bytes(self) -> bytes:
        """Canonical JSON. Raises ManifestError where a field is not valid; does not check the signature."""
        document = self.to_json()
        check(document)
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


def sign(manifest: LineageManifest, private_key: str) -> LineageManifest:
    """The manifest with signer and signature set: EIP-191 over its SHA-256 without the signature.

    Raises ManifestError where a field is not valid, a missing licence included.
    """
    if not manifest.licence:
        raise ManifestError("licence must be an SPDX expression")
    unsigned = replace(manifest, signer=manifest.owner, signature="")  # any valid signer, to see that the rest is
    unsigned.to_bytes()
    signed = signed_document.sign(unsigned.to_json(), private_key)
    return replace(manifest, signer=signed["signer"], signature=signed["signature"])


def parse(data: bytes) -> LineageManifest:
    """Read a manifest's bytes, which must be canonical: two spellings of one document would have two names.

    Raises ManifestError, also for a signature of version 2 that is not its signer's.
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
    if manifest.licence:
        try:
            signed_document.check(document)
        except ValueError as error:
            raise ManifestError(f"signature: {error}") from error
    return manifest


def from_json(document: Any) -> LineageManifest:
    """Validate an untrusted JSON value, all but its signature. Raises ManifestError naming the first wrong field."""
    check(document)
    fields = {name: value for name, value in document.items() if name != "version"}
    fields["base"] = Base(**document["base"])
    fields["snapshots"] = tuple(Snapshot(**entry) for entry in document["snapshots"])
    if "attributions" in fields:
        fields["attributions"] = tuple(Attribution(**entry) for entry in document["attributions"])
    if "replaces" in fields:
        replaced = document["replaces"]
        fields["replaces"] = Replaces(replaced["revision"], tuple(replaced["without"]))
    if "source" in fields:
        fields["source"] = Source(**document["source"])
    if "combines" in fields:
        fields["combines"] = tuple(Combined(**entry) for entry in document["combines"])
    return LineageManifest(**fields)
