"""Records in a snapshot of their own, proven as the Datanet proves them, and where they stand in a prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from openledger import merkle, records
from openledger.context import Context, ContextRecord, Placed

ANN, BOB, CID = (f"0x{digit * 40}" for digit in "abc")
TEXTS = (
    (ANN, "The tarsal glands of the lower lid were first drawn by Meibom in the year 1666."),
    (BOB, "Ferries to the island leave every morning at eight, except on Sundays and on holidays."),
    (CID, "A hypermobile joint moves beyond its usual range; it may be one joint alone, or many."),
    (ANN, "short"),
)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a datanet, with what opens its commitments."""

    name: str
    given: tuple[tuple[str, Mapping[str, str]], ...]
    """Contributor and fields, in the order of registration."""

    @classmethod
    def of(cls, texts: Sequence[tuple[str, str]] = TEXTS, name: str = "datanets/herbs/snapshots/3") -> Snapshot:
        return cls(name, tuple((who, {"text": text}) for who, text in texts))

    @property
    def root(self) -> bytes:
        return records.snapshot_root(self._commitments())

    def record(self, leaf: int) -> ContextRecord:
        """With its proof."""
        who, fields = self.given[leaf]
        path = tuple(merkle.inclusion_proof(self._commitments(), leaf))
        return ContextRecord(self.name, leaf, len(self.given), path, who, fields, f"page {leaf}", self._salt(leaf))

    def _salt(self, leaf: int) -> bytes:
        return hashlib.sha256(f"{self.name} {leaf}".encode()).digest()

    def _commitments(self) -> list[bytes]:
        canonical = (records.canonical_bytes(who, fields, f"page {n}") for n, (who, fields) in enumerate(self.given))
        return [records.commitment(self._salt(leaf), record) for leaf, record in enumerate(canonical)]


def placed(
    found: Sequence[tuple[Snapshot, int]],
    encode: Callable[[str], Sequence[int]],
    before: Sequence[int],
    question: Sequence[int],
) -> tuple[Context, tuple[int, ...]]:
    """Records in a prompt: the context, and the prompt's tokens.  encode: of a text."""
    some = [(snapshot.record(leaf), snapshot.root) for snapshot, leaf in found]
    texts = Context(0, 1, tuple(Placed(record, root, 1) for record, root in some)).texts
    opening, *sizes = pieces = [tuple(encode(text)) for text in texts]
    context = Context(
        len(before),
        len(opening),
        tuple(Placed(record, root, len(size)) for (record, root), size in zip(some, sizes, strict=True)),
    )
    return context, (*before, *(token for piece in pieces for token in piece), *question)


def bytewise(text: str) -> list[int]:
    """Tokens of a text, as the tiny model's tokenizer has them: one a byte."""
    return [3 + byte for byte in text.encode()]
