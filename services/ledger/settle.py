"""Sealing an epoch: what every account has ever earned, as leaves, and the roots that commit to them.  Pure.

The leaves are cumulative, so each epoch's root replaces the one before.  `log_root` commits to the receipts that the
epoch settles, in the order in which they were journaled.  The epoch's bundle (`bundle`) holds all that is needed to
compute both again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openledger import merkle
from openledger.claims import ClaimTree, decreases

PAGE = 256
"""Leaves are kept in pages of so many: a power of two, so that each is a subtree, and has a node."""


class NothingToSettle(Exception):
    """There is nothing new to settle, or nobody to settle with; the text says which."""


class Decreased(AssertionError):
    """A root that takes earnings away: a fault in this program, never to be proposed."""


@dataclass(frozen=True)
class Sealed:
    """An epoch's commitments; hex.  `leaves`: address to cumulative atomic units; `nodes`: their pages' in the tree."""

    root: str
    log_root: str
    leaves: Mapping[str, int]
    total: int
    nodes: Sequence[bytes]


def seal(
    chain_id: int, distributor: str, earned: Mapping[str, int], before: Mapping[str, int], receipts: Sequence[str]
) -> Sealed:
    """Seal what accounts have earned by all receipts, of which `receipts` (hex SHA-256) are new since `before`.

    There may be none, where some of what was earned had to wait for this epoch (`leaves.capped`).
    Raises `NothingToSettle`.
    """
    if not receipts and dict(earned) == dict(before):
        raise NothingToSettle("no answer was paid for since the last epoch")
    if not earned:
        raise NothingToSettle("nothing is owed to an account yet: all fees went to shares that are held")
    fallen = decreases(before, earned)
    if fallen:
        raise Decreased(f"{fallen[0]} would have earned {earned.get(fallen[0], 0)}, after {before[fallen[0]]}")
    tree = ClaimTree.build(chain_id, distributor, earned)
    return Sealed(tree.root.hex(), log_root(receipts), tree.amounts, tree.total, tree.subtrees(PAGE))


def log_root(receipts: Sequence[str]) -> str:
    """RFC 6962 root over receipts' digests (each leaf the 32 bytes), hex."""
    return merkle.root([bytes.fromhex(digest) for digest in receipts]).hex()
