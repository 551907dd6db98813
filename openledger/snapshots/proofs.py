"""Proofs about snapshots as documents that anybody checks without asking anybody.

Nothing stands in a proof that it does not prove: one changed byte, and it does not hold.  So no record's name is in it,
for names are the Datanet's and no tree holds them, and no size of a tree: sizes are the snapshots' own numbers, which
the entries say.  That a root is the right one is not in the proof's power: it is compared with the chain.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from openledger import canonical, merkle, records
from openledger.snapshots.documents import Address, Count, Digest, Document, Entry

MOST_BYTES = 4 * 2**20
"""Of a proof: a record has at most a megabyte."""


class Opened(BaseModel):
    """A record as its commitment was made from it (`openledger.records.canonical_bytes`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal["openledger.record.v1"] = "openledger.record.v1"
    contributor: Address
    fields: dict[str, str]
    source: str


class RecordProof(Document):
    """That a record is in a snapshot.  Digests, salt and roots are hex.

    record, salt: null of one that is erased, of which the commitment alone is left.  log_path: the snapshot's, in the
    log that ends with it, whose root is log_root.
    """

    version: Literal["openledger.record-proof.v1"] = "openledger.record-proof.v1"
    record: Opened | None
    salt: Digest | None
    commitment: Digest
    leaf: Count
    path: list[Digest]
    snapshot: Entry
    log_path: list[Digest]
    log_root: Digest

    def check(self) -> str:
        """What it proves, in words.  Raises `ValueError` that says what does not hold."""
        _must(_opens(self), "the commitment is not that of this record under this salt")
        entry, leaf = self.snapshot, bytes.fromhex(self.commitment)
        held = merkle.verify_inclusion(leaf, self.leaf, entry.record_count, _raw(self.path), bytes.fromhex(entry.root))
        _must(held, f"the record's commitment is not leaf {self.leaf} of the tree with the root of {entry.snapshot}")
        _must(_is_last(entry, self.log_path, self.log_root), _not_in_log(entry))
        whose = f"a record of {self.record.contributor}" if self.record else "an erased record's commitment"
        return f"{whose} is leaf {self.leaf} of {entry.snapshot}, which has the root {entry.root}"


class SnapshotProof(Document):
    """That a snapshot is in its datanet's log as it was when `last` was cut."""

    version: Literal["openledger.snapshot-proof.v1"] = "openledger.snapshot-proof.v1"
    snapshot: Entry
    last: Entry
    path: list[Digest]
    last_path: list[Digest]
    log_root: Digest

    def check(self) -> str:
        """What it proves, in words.  Raises `ValueError` that says what does not hold."""
        entry, last = self.snapshot, self.last
        _must(entry.datanet == last.datanet, "the two snapshots are of two datanets")
        _must(_is_last(last, self.last_path, self.log_root), _not_in_log(last))
        _must(_is_in(entry, last.number, self.path, self.log_root), _not_in_log(entry))
        place = f"number {entry.number} of {last.number}"
        return f"{entry.snapshot} with the root {entry.root} is in its datanet's log, {place}"


class ConsistencyProof(Document):
    """That a datanet's log only grew from one snapshot to a later one: nothing before the first was changed."""

    version: Literal["openledger.consistency-proof.v1"] = "openledger.consistency-proof.v1"
    old: Entry
    new: Entry
    old_path: list[Digest]
    new_path: list[Digest]
    old_root: Digest
    new_root: Digest
    path: list[Digest]

    def check(self) -> str:
        """What it proves, in words.  Raises `ValueError` that says what does not hold."""
        old, new = self.old, self.new
        _must(old.datanet == new.datanet, "the two snapshots are of two datanets")
        _must(_is_last(old, self.old_path, self.old_root), _not_in_log(old))
        _must(_is_last(new, self.new_path, self.new_root), _not_in_log(new))
        roots = (bytes.fromhex(self.old_root), bytes.fromhex(self.new_root))
        grew = merkle.verify_consistency(old.number, new.number, *roots, _raw(self.path))
        _must(grew, f"the log at {new.snapshot} does not begin as the log at {old.snapshot}")
        return f"the log of {old.datanet} at {new.snapshot} begins with the log at {old.snapshot}, unchanged"


Proof = RecordProof | SnapshotProof | ConsistencyProof
_KINDS: dict[str, type[Proof]] = {
    "openledger.record-proof.v1": RecordProof,
    "openledger.snapshot-proof.v1": SnapshotProof,
    "openledger.consistency-proof.v1": ConsistencyProof,
}


def parse(data: bytes) -> Proof:
    """A proof of any kind, not yet checked.  Raises `ValueError` that says what is wrong with the bytes."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"a proof has at most {MOST_BYTES} bytes")
    document = canonical.loads(data)
    kind = document.get("version") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"it is no proof: its version is none of {', '.join(_KINDS)}")
    return _KINDS[kind].from_bytes(data)


def entries(proof: Proof) -> list[Entry]:
    """The snapshots that a proof speaks of, whose roots a chain may hold."""
    if isinstance(proof, RecordProof):
        return [proof.snapshot]
    pair = (proof.snapshot, proof.last) if isinstance(proof, SnapshotProof) else (proof.old, proof.new)
    return list(dict.fromkeys(pair))


def _opens(proof: RecordProof) -> bool:
    if proof.record is None or proof.salt is None:
        return proof.record is None and proof.salt is None
    body = canonical.dumps(proof.record.model_dump(mode="json"))
    return records.commitment(bytes.fromhex(proof.salt), body).hex() == proof.commitment


def _is_last(entry: Entry, path: list[str], root: str) -> bool:
    return _is_in(entry, entry.number, path, root)


def _is_in(entry: Entry, size: int, path: list[str], root: str) -> bool:
    return merkle.verify_inclusion(entry.to_bytes(), entry.number - 1, size, _raw(path), bytes.fromhex(root))


def _not_in_log(entry: Entry) -> str:
    return f"{entry.snapshot}, as it stands here, is not in the log with that root"


def _raw(path: list[str]) -> list[bytes]:
    return [bytes.fromhex(digest) for digest in path]


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
