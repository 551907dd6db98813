"""What the registries on chain hold: datanets' snapshots, and adapter revisions with their splits.  Plain values.

Digests and roots are 32 bytes, addresses lower-case 0x hex, times Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

BASIS_POINTS = 10_000
MIN_CONTRIBUTORS_BPS = 5_000
"""What ModelRegistry lets no split take from the contributors."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A datanet's snapshot as the registry holds it."""

    root: bytes
    records: int
    committed_at: int


@dataclass(frozen=True, slots=True)
class Split:
    """Basis points of a fee without the platform's part; the rest is the contributors'."""

    developer_bps: int
    stakers_bps: int

    @property
    def contributors_bps(self) -> int:
        """The rest."""
        return BASIS_POINTS - self.developer_bps - self.stakers_bps


@dataclass(frozen=True, slots=True)
class Revision:
    """An adapter revision as the registry holds it.  `snapshots` is their `openledger.abi.snapshots_key`.

    With a change of its split, if one is announced: what to, and from when on it can be made.
    """

    index_root: bytes
    base: bytes
    snapshots: bytes
    developer: str
    split: Split
    registered_at: int
    change: Split | None = None
    change_at: int = 0


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a revision was made from, and by whom."""

    index_root: bytes
    base: bytes
    snapshots: Sequence[tuple[str, int, bytes]]
    """Each a datanet's resource name, a version and a root, in the manifest's order."""
    developer: str
