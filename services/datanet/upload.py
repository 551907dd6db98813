"""One upload while it comes in: bounded in memory, judged record by record, and taken all at once at its end.

Knows neither the wire nor the database.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from openledger import merkle, records
from services.datanet import admit, declare, sealing
from services.datanet.admit import Refusal
from services.datanet.declare import Declaration
from services.datanet.likeness import Text
from services.datanet.model import Datanet, record_name
from services.datanet.vault import Sealed, Vault
from services.kit.errors import aborted, exhausted, invalid


@dataclass(frozen=True)
class Candidate:
    """A record that may come in, unless somebody gave it before.  `index` is its place in the upload.

    Sealed as soon as it is there: what follows needs to know only whether two records read the same, which the token of
    its fingerprint says, or alike, which `text` says.  `size`: its canonical bytes.
    """

    index: int
    id: str
    name: str
    size: int
    fingerprint: bytes
    commitment: bytes
    sealed: Sealed
    text: Text


@dataclass(frozen=True)
class Limits:
    """Bytes are canonical bytes."""

    record_bytes: int
    upload_bytes: int
    upload_records: int


class Room:
    """Memory for the uploads in hand, all together."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0

    def take(self, size: int) -> None:
        """Raises `Fault` when there is no more."""
        if self._taken + size > self._limit:
            raise exhausted("UPLOADS_FULL", "too many uploads are under way; send this one again soon", retry_after=2)
        self._taken += size

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self._taken -= size


class Upload:
    """The records sent so far under a declaration.  Use it as a context: it gives its memory back on leaving."""

    def __init__(self, datanet: Datanet, declaration: Declaration, limits: Limits, room: Room, vault: Vault) -> None:
        self._datanet, self._declaration, self._limits, self._room = datanet, declaration, limits, room
        self._vault = vault
        self._leaves: list[bytes] = []
        self._held = 0
        self.candidates: list[Candidate] = []
        self.refusals: dict[int, Refusal] = {}
        if declaration.record_count > limits.upload_records:
            raise invalid(
                "UPLOAD_TOO_LARGE",
                f"{declaration.record_count} records are declared, at most {limits.upload_records} are taken at once: "
                "send them in parts, each with its own declaration",
                "header.declaration.record_count",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give(self._held)
        self._held = 0

    def add(self, fields: Mapping[str, str], source: str) -> None:
        """The next record.  Raises `Fault` when the upload as a whole cannot stand."""
        index = len(self._leaves)
        if index == self._declaration.record_count:
            raise declare.mismatch(f"it is about {index} records, but more were sent")
        canonical = records.canonical_bytes(self._declaration.contributor, fields, source)
        self._leaves.append(merkle.leaf_hash(canonical))
        if len(canonical) > self._limits.record_bytes:
            self.refusals[index] = admit.too_large(len(canonical), self._limits.record_bytes)
            return
        refusal = admit.refusal(self._datanet.definition, fields, source)
        if refusal is not None:
            self.refusals[index] = refusal
            return
        self._hold(len(canonical))
        self.candidates.append(self._candidate(index, canonical, fields))

    def close(self) -> None:
        """All is here.  Raises `Fault` unless it is exactly what was declared."""
        declare.check_content(self._declaration, len(self._leaves), merkle.root_of_hashes(self._leaves))

    def check_current(self, datanet: Datanet) -> None:
        """Raises `Fault` when records are admitted by other rules now than those by which these were judged."""
        judged, now = self._datanet.definition, datanet.definition
        if (judged.fields, judged.policy) != (now.fields, now.policy):
            raise aborted(
                "DATANET_CHANGED",
                f"the owner of {datanet.name} changed what records it takes while these came in. Nothing was taken: "
                "send them again, to be judged anew",
            )

    def _candidate(self, index: int, canonical: bytes, fields: Mapping[str, str]) -> Candidate:
        record, salt = uuid.uuid4().hex, secrets.token_bytes(records.SALT_BYTES)
        sealed = sealing.seal(self._vault, record, salt, canonical)
        return Candidate(
            index=index,
            id=record,
            name=record_name(self._datanet.id, record),
            size=len(canonical),
            fingerprint=sealing.fingerprint_token(self._vault, records.fingerprint(fields)),
            commitment=records.commitment(salt, canonical),
            sealed=sealed,
            text=sealing.liken(self._vault, record, sealed.wrapped, fields),
        )

    def _hold(self, size: int) -> None:
        if self._held + size > self._limits.upload_bytes:
            raise invalid(
                "UPLOAD_TOO_LARGE",
                f"the records have more than {self._limits.upload_bytes} bytes together: send them in parts, each with "
                "its own declaration. Nothing was taken",
            )
        self._room.take(size)
        self._held += size
