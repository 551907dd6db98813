"""A snapshot as its datanet's log holds it, and the manifest of what is published of it: canonical JSON.

The log of a datanet is the RFC 6962 tree over its snapshots' entries in order: the entry of snapshot n is leaf n - 1.
Knows no files, databases or chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from openledger import canonical, merkle

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{40}$")]
SnapshotName = Annotated[str, StringConstraints(pattern=r"^datanets/[A-Za-z0-9._~-]{1,100}/snapshots/[1-9][0-9]{0,8}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

MANIFEST, PROOF = "manifest.json", "proof.json"
RECORDS, CROISSANT, CARD = "records.parquet", "croissant.json", "README.md"


class Document(BaseModel):
    """A document in its one byte form: unknown fields, and values of other types, are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Of canonical bytes.  Raises `ValueError` that names what is wrong."""
        document = canonical.loads(data)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise ValueError(f"{where}: {first['msg']}") from None

    def to_bytes(self) -> bytes:
        """RFC 8785."""
        return canonical.dumps(self.model_dump(mode="json"))

    def digest(self) -> str:
        """Hex SHA-256 of the bytes."""
        return canonical.sha256(self.to_bytes())


class Entry(Document):
    """A snapshot in its datanet's log.  `create_time`: microseconds since 1970, UTC; `root`, `manifest`: hex.

    manifest: SHA-256 of the manifest's bytes.  root: RFC 6962, over the records' commitments.
    """

    version: Literal["openledger.snapshot.v1"] = "openledger.snapshot.v1"
    snapshot: SnapshotName
    root: Digest
    record_count: Count
    contributor_count: Count
    licence: str
    create_time: Count
    manifest: Digest

    @property
    def datanet(self) -> str:
        """`datanets/{datanet}`."""
        return self.snapshot.rpartition("/snapshots/")[0]

    @property
    def number(self) -> int:
        """Its version: it stands in the log at the place before that, counted from 0."""
        return int(self.snapshot.rpartition("/")[2])


class RecordField(Document):
    """A named text of every record."""

    id: str
    description: str
    required: bool


class PublishedFile(Document):
    """`size`: bytes."""

    sha256: Digest
    size: Count


class Manifest(Document):
    """What is published of a snapshot.  No text of a record is in it, nor in the files that it names.

    parent: the snapshot before it, empty for the first.  owner: an address.  create_time: as the entry's.  files: by
    name, all in one folder.
    """

    version: Literal["openledger.snapshot-manifest.v1"] = "openledger.snapshot-manifest.v1"
    snapshot: SnapshotName
    parent: SnapshotName | Literal[""]
    root: Digest
    record_count: Count
    contributor_count: Count
    licence: str
    licence_notice: str
    display_name: str
    description: str
    tags: list[str]
    owner: Address
    create_time: Count
    fields: list[RecordField]
    files: dict[FileName, PublishedFile]

    @property
    def number(self) -> int:
        """The snapshot's version."""
        return int(self.snapshot.rpartition("/")[2])

    @property
    def time(self) -> datetime:
        """When it was frozen."""
        return datetime.fromtimestamp(self.create_time / 1e6, UTC)

    def entry(self) -> Entry:
        """The snapshot in its datanet's log."""
        said = self.model_dump(include=set(Entry.model_fields) - {"version", "manifest"})
        return Entry(**said, manifest=self.digest())


def log_root(entries: Sequence[bytes]) -> bytes:
    """Root of a datanet's log: RFC 6962 over its entries' bytes, from the first snapshot on."""
    return merkle.root(entries)
