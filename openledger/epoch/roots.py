"""Both roots of an epoch, written a second time: from docs/settlement.md, OpenZeppelin's tree, and RFC 6962.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from sha3 import keccak_256  # type: ignore[import-untyped]


def claims(chain_id: int, distributor: str, leaves: Iterable[tuple[str, int]]) -> bytes:
    """Keccak root over (account, cumulative) in the order of accounts; 32 zero bytes of none."""
    place = _word(chain_id) + _address(distributor)
    nodes = [_keccak(_keccak(place + _address(account) + _word(amount))) for account, amount in leaves]
    return _fold(nodes, lambda a, b: _keccak(min(a, b) + max(a, b))) or bytes(32)


def log(digests: Iterable[bytes]) -> bytes:
    """SHA-256 root over receipts' digests in the order of their journals."""
    nodes = [hashlib.sha256(b"\0" + digest).digest() for digest in digests]
    return _fold(nodes, lambda a, b: hashlib.sha256(b"\1" + a + b).digest()) or hashlib.sha256().digest()


def _fold(nodes: list[bytes], parent: Callable[[bytes, bytes], bytes]) -> bytes | None:
    """Level by level; in both trees a node without a sibling moves up."""
    while len(nodes) > 1:
        lone = nodes.pop() if len(nodes) % 2 else None
        pairs = iter(nodes)
        nodes = [parent(left, right) for left, right in zip(pairs, pairs, strict=True)]
        if lone is not None:
            nodes.append(lone)
    return nodes[0] if nodes else None


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _address(text: str) -> bytes:
    return bytes(12) + bytes.fromhex(text.removeprefix("0x"))


def _keccak(data: bytes) -> bytes:
    return bytes(keccak_256(data).digest())
