"""A bundle on this machine: its manifest, and its tables read in pieces.  Checks form and hashes, not what they say.

What is not there or is not of its form is the bundle's fault; that a disk cannot be read or memory is full is not, and
stays an `OSError` or a `MemoryError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from openledger.epoch import documents

WITHOUT_SPLITS = "openledger.epoch.v4"
MOST_BYTES = 1 << 28
"""Of a manifest, which is read into memory: half a million corrections."""
_WHOLE = re.compile(r"(0|[1-9][0-9]{0,77})\Z")
RECEIPTS, JOURNALS, LEAVES = "receipts.parquet", "journals.parquet", "leaves.parquet"
_COLUMNS = {
    RECEIPTS: ("journal", "document"),
    JOURNALS: ("number", "kind", "key", "payload_sha256", "cause", "postings"),
    LEAVES: ("account", "before", "waited", "cumulative", "waiting"),
}


Folder = Path | Callable[[str], Path]
"""Published artifacts: the folder that they are in, or what says of each where it lies, and brings it there first."""


class BadBundle(ValueError):
    """A bundle that cannot be read, or is not what its name says; the text says which, and where."""


def whole(text: object) -> int:
    """A whole number from its one spelling in decimal digits.  Raises `ValueError`."""
    if not isinstance(text, str) or not _WHOLE.match(text):
        raise ValueError(f"{str(text)[:70]!r} is not a whole number in plain decimal")
    return int(text)


Whole = Annotated[int, BeforeValidator(whole)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{40}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Settlement(_Part):
    """Answers that were settled together: those in the journals above one number, through another."""

    name: str
    above: Whole
    through: Whole


class Terms(_Part):
    """By which rules, for which platforms and signed by whom the epoch's receipts are."""

    rules: list[dict[str, int]]
    platforms: list[Address]
    signers: list[Address]


class Since(_Part):
    """From when on a split holds: the time of its block in Unix seconds, its number, and the transaction."""

    time: Whole
    block: Whole
    transaction: Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{64}$")]


class Split(_Part):
    """Basis points by which a revision's answers were paid; `since` None: before the revision was registered.

    `until`: Unix seconds of the change after it, if there had been one some time before the epoch was sealed.
    """

    revision: str
    developer_bps: int
    stakers_bps: int
    since: Since | None
    until: Whole | None


class Splits(_Part):
    """What the registry is said to hold of the splits by which answers were paid.

    `lag`: seconds around a change in which an answer may be paid by either.
    """

    registry: Address
    lag: Whole
    held: list[Split]


class Previous(_Part):
    """The epoch that this one follows; `bundle` is empty where it has none of this kind."""

    epoch: Whole
    root: Digest
    bundle: Digest | Literal[""]


class File(_Part):
    """A table by its SHA-256."""

    sha256: Digest
    rows: Whole


class Manifest(_Part):
    """What a bundle says of itself."""

    version: Literal["openledger.epoch.v4", "openledger.epoch.v5"]
    epoch: Whole
    chain_id: Whole
    distributor: Address
    terms: Terms
    splits: Splits | None = None
    """None in v4, of before revisions had splits of their own."""
    settlements: list[Settlement]
    corrections: list[dict[str, str]]
    cap: Whole
    previous: Previous | None
    files: dict[str, File]
    root: Digest
    log_root: Digest
    total: Whole


@dataclass(frozen=True)
class Bundle:
    """A manifest, its SHA-256, and the artifacts among which its files are by their names."""

    manifest: Manifest
    digest: str
    folder: Folder

    def place(self, name: str) -> Path:
        """Where a table lies."""
        return artifact(self.folder, self.manifest.files[name].sha256)

    def check(self, name: str) -> None:
        """Raises `BadBundle` unless the table is there, whole, with the columns and rows that it must have."""
        wanted, place = self.manifest.files[name], self.place(name)
        if file_sha256(place) != wanted.sha256:
            raise BadBundle(f"{name} is not the file that the manifest names: {place} has another SHA-256")
        with _decoding(f"{name} is no Parquet file"):
            table = pq.ParquetFile(place)
        if (found := tuple(table.schema_arrow.names)) != _COLUMNS[name]:
            raise BadBundle(f"{name} has the columns {', '.join(found)}, not {', '.join(_COLUMNS[name])}")
        if table.metadata.num_rows != wanted.rows:
            raise BadBundle(f"{name} has {table.metadata.num_rows} rows, the manifest says {wanted.rows}")

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """A table's rows in order.  Raises `BadBundle` for what cannot be decoded."""
        place = self.place(name)
        with _decoding(f"{name} cannot be decoded"):
            for piece in pq.ParquetFile(place).iter_batches(batch_size=1000):
                yield from piece.to_pylist()


def open_bundle(folder: Folder, digest: str) -> Bundle:
    """The bundle whose manifest has that SHA-256, among artifacts.  Raises `BadBundle`, and `OSError`."""
    place = artifact(folder, digest)
    if file_sha256(place) != digest:
        raise BadBundle(f"{place} is not the manifest that its name says: it has another SHA-256")
    if place.stat().st_size > MOST_BYTES:
        raise BadBundle(f"{place} is no manifest of an epoch: it has more than {MOST_BYTES} bytes")
    try:
        found = Manifest.model_validate(documents.loads(place.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadBundle(f"{place} is no manifest of an epoch: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{place} is no manifest of an epoch: {error}") from error
    if (found.splits is None) is not (found.version == WITHOUT_SPLITS):
        raise BadBundle(f"{place} is no manifest of an epoch: {found.version} with splits, or without")
    if found.files.keys() != _COLUMNS.keys():
        raise BadBundle(f"the manifest names the files {', '.join(found.files)}, not {', '.join(_COLUMNS)}")
    return Bundle(found, digest, folder)


def artifact(folder: Folder, digest: str) -> Path:
    """Where an artifact lies, if it is there."""
    return folder(digest) if callable(folder) else folder / "sha256" / digest[:2] / digest


def file_sha256(place: Path) -> str:
    """Hex SHA-256 of a file.  Raises `BadBundle` when it is not there, `OSError` when it cannot be read."""
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise BadBundle(f"{place} cannot be read: {error.strerror}") from error


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """What is not of its form raises `BadBundle`.  Arrow says that by an OSError too, which has no number then."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        machine = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        if machine and not isinstance(error, FileNotFoundError):
            raise
        raise BadBundle(f"{what}: {error}") from error
