"""One upload while it comes in: bounded in memory, judged record by record, and taken all at once at its end.

A record that stands by its form waits until it was looked at, where the datanet's policy asks for that: `unseen` are
those that wait, `judge` is told what was found in them.  Knows neither the wire nor the database, nor how to look.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from openledger import merkle, records
from services.datanet import admit, declare, sealing
from services.datanet.admit import Refusal
from services.datanet.declare import Declaration
from services.datanet.draft import Draft
from services.datanet.likeness import Text
from services.datanet.model import Datanet, Policy, record_name
from services.datanet.screen import Finding
from services.datanet.vault import Sealed, Vault
from services.datanet.verdict import Verdict, verdict
from services.kit.errors import exhausted, invalid

_BATCH_RECORDS, _BATCH_BYTES = 64, 64 * 2**10
"""Of records that are looked at together; a single one may have more."""
_RECORD, _FINDING, _FEATURE, _SUGGESTED = 1024, 512, 44, 3
"""Bytes of memory, measured (`tests/unit/services/datanet/test_upload.py`): of a record, whatever it says; of what one
check found; of a feature.  A suggestion lies there, in the box, and in the answer."""


@dataclass(frozen=True)
class Candidate:
    """A record that may come in, unless somebody gave it before.  `index` is its place in the upload.

    Sealed as soon as it is there: what follows needs to know only whether two records read the same, which the token of
    its fingerprint says, or alike, which `text` says.  `size`: its canonical bytes.  `findings`: of the checks.
    `waits`: for its contributor's word on what they found; sealed with it is what they suggest.
    """

    index: int
    id: str
    name: str
    size: int
    fingerprint: bytes
    commitment: bytes
    sealed: Sealed
    text: Text
    findings: tuple[Finding, ...] = ()
    waits: bool = False
    suggestion: Mapping[str, str] | None = None

    @property
    def beside(self) -> int:
        """Bytes of memory that it takes beside its text."""
        text = len(self.text.sketch) + len(self.text.box) + _FEATURE * len(self.text.features)
        return text + _judged(self.findings, self.suggestion)


@dataclass(frozen=True)
class Limits:
    """Bytes are canonical bytes."""

    record_bytes: int
    upload_bytes: int
    upload_records: int


class Room:
    """Memory for the uploads in hand, all together.  Threads share it."""

    def __init__(self, limit: int) -> None:
        """limit: bytes."""
        self._limit, self._taken, self._lock = limit, 0, threading.Lock()

    def take(self, size: int) -> None:
        """Raises `Fault` when there is no more."""
        with self._lock:
            if self._taken + size <= self._limit:
                self._taken += size
                return
        raise exhausted("UPLOADS_FULL", "too many uploads are under way; send this one again soon", retry_after=2)

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._taken -= size


class Upload:
    """The records sent so far under a declaration.  Use it as a context: it gives its memory back on leaving."""

    def __init__(
        self,
        datanet: Datanet,
        declaration: Declaration,
        limits: Limits,
        room: Room,
        vault: Vault,
        only: Collection[int] | None = None,
    ) -> None:
        """only: places of the records that are judged, all where it is not said; of the others the root alone is made.

        Raises `Fault` when so many records are not taken.
        """
        self._datanet, self._declaration, self._limits, self._room = datanet, declaration, limits, room
        self._vault, self._only = vault, only
        self._leaves: list[bytes] = []
        self._size = self._held = 0
        self._unseen: list[tuple[Draft, bytes]] = []
        self._unseen_bytes = 0
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
        if self._only is not None and index not in self._only:
            return
        if len(canonical) > self._limits.record_bytes:
            self.refusals[index] = admit.too_large(len(canonical), self._limits.record_bytes)
            return
        refusal = admit.refusal(self._datanet.definition, fields, source)
        if refusal is not None:
            self.refusals[index] = refusal
            return
        self._count(len(canonical))
        self._unseen.append((Draft(index, dict(fields), source), canonical))
        self._unseen_bytes += len(canonical)
        if not self.policy.looks:
            self.judge([()])

    @property
    def policy(self) -> Policy:
        """By which its records are looked at."""
        return self._datanet.definition.policy

    @property
    def contributor(self) -> str:
        """Its address."""
        return self._declaration.contributor

    @property
    def unseen(self) -> list[Draft]:
        """Records that nobody has looked at."""
        return [draft for draft, _ in self._unseen]

    @property
    def batch_is_full(self) -> bool:
        """Whether so many wait that they should be looked at now."""
        return len(self._unseen) >= _BATCH_RECORDS or self._unseen_bytes >= _BATCH_BYTES

    def judge(self, findings: Sequence[tuple[Finding, ...]]) -> None:
        """What was found in each of `unseen`, in order, and what follows from it.

        Raises `Fault` when the upload as a whole cannot stand.
        """
        waiting, self._unseen, self._unseen_bytes = self._unseen, [], 0
        for (draft, canonical), found in zip(waiting, findings, strict=True):
            what, why = verdict(found, self.policy)
            if what is Verdict.REFUSE and why is not None:
                self.hold(_judged(found, why.suggestion))
                self.refusals[draft.index] = Refusal(why.reason, why.message, found, why.suggestion)
                continue
            suggestion = why.suggestion if why is not None else None
            made = candidate(self._vault, self._datanet.id, draft, canonical, found, suggestion)
            self.hold(made.beside)
            self.candidates.append(made)

    def close(self) -> None:
        """All is here, and was looked at.  Raises `Fault` unless it is exactly what was declared."""
        if self._unseen:
            raise RuntimeError(f"nobody has looked at {len(self._unseen)} records")
        declare.check_content(self._declaration, len(self._leaves), merkle.root_of_hashes(self._leaves))

    def check_current(self, datanet: Datanet) -> None:
        """Raises `Fault` when records are admitted by other rules now than those by which these were judged."""
        admit.check_current(self._datanet, datanet)

    def hold(self, size: int) -> None:
        """Bytes of memory that it takes until it is left.  Raises `Fault` when there is no more."""
        self._room.take(size)
        self._held += size

    def _count(self, size: int) -> None:
        """Canonical bytes, of which an upload has so many."""
        if self._size + size > self._limits.upload_bytes:
            raise invalid(
                "UPLOAD_TOO_LARGE",
                f"the records have more than {self._limits.upload_bytes} bytes together: send them in parts, each with "
                "its own declaration. Nothing was taken",
            )
        self._size += size
        self.hold(size)


def candidate(
    vault: Vault,
    datanet: str,
    draft: Draft,
    canonical: bytes,
    findings: tuple[Finding, ...] = (),
    suggestion: Mapping[str, str] | None = None,
) -> Candidate:
    """A record, sealed.  datanet: its id.  suggestion: of one that waits for its contributor's word."""
    record, salt = uuid.uuid4().hex, secrets.token_bytes(records.SALT_BYTES)
    sealed = sealing.seal(vault, record, salt, canonical, suggestion)
    return Candidate(
        index=draft.index,
        id=record,
        name=record_name(datanet, record),
        size=len(canonical),
        fingerprint=sealing.fingerprint_token(vault, records.fingerprint(draft.fields)),
        commitment=records.commitment(salt, canonical),
        sealed=sealed,
        text=sealing.liken(vault, record, sealed.wrapped, draft.fields),
        findings=findings,
        waits=suggestion is not None,
        suggestion=suggestion,
    )


def _judged(findings: Sequence[Finding], suggestion: Mapping[str, str] | None) -> int:
    """Bytes of memory that a record takes that was judged, but for its text and what that is like."""
    suggested = sum(len(text.encode()) for text in (suggestion or {}).values())
    return _RECORD + _FINDING * len(findings) + _SUGGESTED * suggested
