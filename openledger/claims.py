"""Cumulative claims: the tree over all that each account has ever earned, its root, and proofs for the chain.

Part of the recomputable core: from one epoch's published amounts anyone rebuilds the root that the distributor holds,
and checks any proof against it. The hashes are those of `contracts/src/RewardsDistributor.sol`; the vectors in
`contracts/vectors/` bind the two.

What it does not know: who earned what (see `openledger.split`), epochs, and whether a root was accepted on chain.

Tree: leaf = keccak(keccak(abi.encode(chain id, distributor, account, cumulative))), hashed twice so that no inner node
can pass for a leaf. Leaves in the order of the accounts' addresses; parent = keccak of the two children, the lower
hash first; a node without a sibling moves up unchanged.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import le

from sha3 import keccak_256  # type: ignore[import-untyped]

UINT128_MAX = 2**128 - 1
UINT256_MAX = 2**256 - 1
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ADDRESSES = re.compile(r"(?:0x[0-9a-f]{40})*+")


class InvalidClaims(ValueError):
    """The accounts and amounts cannot form a claim tree; the message names the entry."""


def keccak(data: bytes) -> bytes:
    """Keccak-256 as the EVM computes it (not NIST SHA-3)."""
    return bytes(keccak_256(data).digest())


def address_bytes(address: str) -> bytes:
    """The 20 bytes of a 0x address, in any letter case. Raises InvalidClaims for anything else.

    The EIP-55 checksum is not looked at: that is for what people type, and this is for what was published.
    """
    if not ADDRESS.fullmatch(address):
        raise InvalidClaims(f"{address!r} is not an address: 0x and 40 hex digits expected")
    return bytes.fromhex(address[2:])


def leaf_hash(chain_id: int, distributor: str, account: str, cumulative: int) -> bytes:
    """The leaf that entitles `account` to `cumulative` atomic units in all, on this chain and distributor only."""
    if not 0 < chain_id <= UINT256_MAX:
        raise InvalidClaims(f"chain id {chain_id} is out of range")
    if not 0 < cumulative <= UINT128_MAX:
        raise InvalidClaims(f"{account}: cumulative amount {cumulative} is not within 1..2**128-1")
    words = (
        chain_id.to_bytes(32),
        address_bytes(distributor).rjust(32, b"\0"),
        address_bytes(account).rjust(32, b"\0"),
        cumulative.to_bytes(32),
    )
    return keccak(keccak(b"".join(words)))


def parent_hash(a: bytes, b: bytes) -> bytes:
    """The inner node above two nodes, whichever side they stand on."""
    return keccak(a + b if a < b else b + a)


@dataclass(frozen=True, slots=True)
class ClaimTree:
    """A claim tree over `amounts` (lower-case address -> cumulative atomic units), sorted by address.

    Build it with `ClaimTree.build`. Holds every level, so a proof is a lookup: about 64 bytes of hashes an account.
    """

    chain_id: int
    distributor: str
    amounts: Mapping[str, int]
    _accounts: Sequence[str] = field(repr=False)
    _levels: Sequence[Sequence[bytes]] = field(repr=False)

    @classmethod
    def build(cls, chain_id: int, distributor: str, amounts: Mapping[str, int]) -> "ClaimTree":
        """Builds the tree; every amount is within 1..2**128-1.

        Raises InvalidClaims if it is empty, an amount is out of range, the sum does not fit uint128, or an account is
        named twice (in two letter cases).
        """
        ordered = _ordered(amounts)
        levels = fold(_leaves(chain_id, distributor, ordered))
        return cls(chain_id, distributor.lower(), ordered, list(ordered), levels)

    @property
    def root(self) -> bytes:
        """32 bytes, as proposed on chain."""
        return self._levels[-1][0]

    @property
    def total(self) -> int:
        """The sum of all leaves in atomic units: the root's `cumulativeTotal`."""
        return sum(self.amounts.values())

    def leaf(self, account: str) -> bytes:
        """The account's leaf hash. Raises KeyError if the account is not in the tree."""
        return self._levels[0][self._position(account)]

    def proof(self, account: str) -> list[bytes]:
        """The siblings from the account's leaf up to the root. Raises KeyError if the account is not in the tree."""
        return siblings(self._levels, self._position(account))

    def subtrees(self, leaves: int) -> Sequence[bytes]:
        """The nodes over so many leaves each, a power of two; the last may be over fewer.

        A proof is one inside of its subtree, which is a tree of its own, and one over these (`fold`, `siblings`).
        """
        return self._levels[min(leaves.bit_length(), len(self._levels)) - 1]

    def _position(self, account: str) -> int:
        if account.lower() not in self.amounts:
            raise KeyError(account)
        return bisect_left(self._accounts, account.lower())


def fold(nodes: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The levels of the tree over some nodes, from themselves up to the root."""
    levels = [nodes]
    while len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    return levels


def siblings(levels: Sequence[Sequence[bytes]], position: int) -> list[bytes]:
    """What stands beside the way from a node of the lowest level up to the root."""
    found = []
    for level in levels[:-1]:
        if position ^ 1 < len(level):
            found.append(level[position ^ 1])
        position >>= 1
    return found


def _leaves(chain_id: int, distributor: str, ordered: Mapping[str, int]) -> list[bytes]:
    """`leaf_hash` of each, with what they share written once: there may be millions."""
    account, cumulative = next(iter(ordered.items()))
    leaf_hash(chain_id, distributor, account, cumulative)  # raises for what is wrong with what they share
    fit = min(ordered.values()) > 0 and max(ordered.values()) <= UINT128_MAX
    if not (fit and set(map(len, ordered)) == {42} and _ADDRESSES.fullmatch("".join(ordered))):
        return [leaf_hash(chain_id, distributor, *each) for each in ordered.items()]  # raises, and names the entry
    shared = chain_id.to_bytes(32) + address_bytes(distributor).rjust(32, b"\0") + bytes(12)
    return [
        keccak_256(keccak_256(shared + bytes.fromhex(account[2:]) + cumulative.to_bytes(32)).digest()).digest()
        for account, cumulative in ordered.items()
    ]


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The nodes above a level's: `parent_hash` of its pairs, and the last one itself if it has no sibling."""
    pairs = zip(level[::2], level[1::2], strict=False)
    return [keccak_256(a + b if a < b else b + a).digest() for a, b in pairs] + list(level[len(level) & ~1 :])


def _ordered(amounts: Mapping[str, int]) -> dict[str, int]:
    if not amounts:
        raise InvalidClaims("a claim tree needs at least one account")
    if not all(map(str.islower, amounts)):
        lower = {account.lower(): cumulative for account, cumulative in amounts.items()}
        if len(lower) != len(amounts):
            raise InvalidClaims("an account is named twice, in different letter cases")
        amounts = lower
    ordered = {account: amounts[account] for account in sorted(amounts)}
    if (total := sum(ordered.values())) > UINT128_MAX:
        raise InvalidClaims(f"the amounts add up to {total}, which does not fit uint128")
    return ordered


def verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` leads from `leaf` to `root`, as the distributor checks it."""
    node = leaf
    for sibling in proof:
        node = parent_hash(node, sibling)
    return node == root


def decreases(previous: Mapping[str, int], current: Mapping[str, int]) -> list[str]:
    """The accounts (sorted) whose cumulative amount is lower in `current` than in `previous`; missing counts as 0.

    A root with any such account takes earnings away and must not be proposed.
    """
    if all(map(le, previous.values(), map(current.get, previous, repeat(0)))):
        return []  # as it is, save in a faulty program: said at once of millions
    now = {account.lower(): cumulative for account, cumulative in current.items()}
    return sorted(a.lower() for a, cumulative in previous.items() if now.get(a.lower(), 0) < cumulative)
