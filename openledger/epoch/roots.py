"""Both roots of an epoch, written a second time: from docs/settlement.md, OpenZeppelin's tree, and RFC 6962.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from sha3 import keccak_256  # type: ignore[import-untyped]


def claims(chain_id: int, distributor: str, leaves: Iterable[tuple[str, int]]) -> bytes:
    """Keccak root over (account, cumulative) in the order of accounts; 32 zero bytes of none."""
    return _fold(_claims(chain_id, distributor, leaves), _claim_parent) or bytes(32)


def proof(chain_id: int, distributor: str, leaves: Sequence[tuple[str, int]], place: int) -> list[bytes]:
    """What leads from the leaf at that place up to the root of `claims`, from below."""
    nodes, found = _claims(chain_id, distributor, leaves), []
    while len(nodes) > 1:
        found += nodes[place ^ 1 : (place ^ 1) + 1]
        nodes, place = _above(nodes, _claim_parent), place // 2
    return found


def log(digests: Iterable[bytes]) -> bytes:
    """SHA-256 root over receipts' digests in the order of their journals."""
    nodes = [hashlib.sha256(b"\0" + digest).digest() for digest in digests]
    return _fold(nodes, lambda a, b: hashlib.sha256(b"\1" + a + b).digest()) or hashlib.sha256().digest()


def _fold(nodes: list[bytes], parent: Callable[[bytes, bytes], bytes]) -> bytes | None:
    """Level by level; in both trees a node without a sibling moves up."""
    while len(nodes) > 1:
        nodes = _above(nodes, parent)
    return nodes[0] if nodes else None


def _above(nodes: list[bytes], parent: Callable[[bytes, bytes], bytes]) -> list[bytes]:
    pairs = iter(nodes)
    found = [parent(left, right) for left, right in zip(pairs, pairs, strict=False)]
    return found + nodes[len(nodes) & ~1 :]


def _claims(chain_id: int, distributor: str, leaves: Iterable[tuple[str, int]]) -> list[bytes]:
    place = _word(chain_id) + _address(distributor)
    return [_keccak(_keccak(place + _address(account) + _word(amount))) for account, amount in leaves]


def _claim_parent(one: bytes, other: bytes) -> bytes:
    return _keccak(min(one, other) + max(one, other))


def _word(number: int) -> bytes:
    if not 0 <= number < 2**256:
        raise ValueError(f"{number} does not fit into 256 bits")
    return number.to_bytes(32)


def _address(text: str) -> bytes:
    return bytes(12) + bytes.fromhex(text.removeprefix("0x"))


def _keccak(data: bytes) -> bytes:
    return bytes(keccak_256(data).digest())
