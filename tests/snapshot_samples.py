"""Snapshots of a made datanet, for tests: its log, its records, and proofs about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from openledger import merkle, records
from openledger.snapshots.documents import Entry, log_root
from openledger.snapshots.proofs import ConsistencyProof, Opened, RecordProof, SnapshotProof

ADA = "0x" + "a" * 40


def salt(number: int) -> bytes:
    return hashlib.sha256(b"salt %d" % number).digest()


def body(number: int) -> bytes:
    return records.canonical_bytes(ADA, {"text": f"text {number}"}, "a source")


def commitments(count: int) -> list[bytes]:
    return [records.commitment(salt(number), body(number)) for number in range(count)]


@dataclass(frozen=True)
class Log:
    """A datanet whose snapshots have so many records each."""

    counts: tuple[int, ...] = (3, 5, 6, 11)

    def entry(self, number: int) -> Entry:
        count = self.counts[number - 1]
        return Entry(
            snapshot=f"datanets/terms/snapshots/{number}",
            root=records.snapshot_root(commitments(count)).hex(),
            record_count=count,
            contributor_count=1,
            licence="CC-BY-4.0",
            create_time=1_790_000_000_000_000 + number,
            manifest=hashlib.sha256(b"%d" % number).hexdigest(),
        )

    def entries(self, size: int) -> list[bytes]:
        return [self.entry(number).to_bytes() for number in range(1, size + 1)]

    def path(self, number: int, size: int) -> list[str]:
        return [digest.hex() for digest in merkle.inclusion_proof(self.entries(size), number - 1)]

    def record(self, leaf: int, number: int, *, erased: bool = False) -> RecordProof:
        tree = commitments(self.counts[number - 1])
        return RecordProof(
            record=None if erased else Opened(contributor=ADA, fields={"text": f"text {leaf}"}, source="a source"),
            salt=None if erased else salt(leaf).hex(),
            commitment=tree[leaf].hex(),
            leaf=leaf,
            path=[digest.hex() for digest in merkle.inclusion_proof(tree, leaf)],
            snapshot=self.entry(number),
            log_path=self.path(number, number),
            log_root=log_root(self.entries(number)).hex(),
        )

    def snapshot(self, number: int, size: int) -> SnapshotProof:
        return SnapshotProof(
            snapshot=self.entry(number),
            last=self.entry(size),
            path=self.path(number, size),
            last_path=self.path(size, size),
            log_root=log_root(self.entries(size)).hex(),
        )

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        return ConsistencyProof(
            old=self.entry(old),
            new=self.entry(new),
            old_path=self.path(old, old),
            new_path=self.path(new, new),
            old_root=log_root(self.entries(old)).hex(),
            new_root=log_root(self.entries(new)).hex(),
            path=[digest.hex() for digest in merkle.consistency_proof(self.entries(new), old)],
        )
