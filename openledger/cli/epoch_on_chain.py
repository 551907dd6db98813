"""Compares an epoch's bundle with what a chain holds: the roots that were proposed, vetoed, and stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import DecodingError

from openledger.cli import splits_on_chain
from openledger.cli.chain_logs import logs
from openledger.cli.rpc import Rpc, RpcError
from openledger.epoch.bundle import BadBundle, Bundle, open_bundle
from openledger.epoch.report import NotReached, Wrong

DISTRIBUTOR = "RewardsDistributor"
_QUANTITY, _HASH = re.compile(r"0x[0-9a-f]{1,16}\Z"), re.compile(r"0x[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Proposals:
    """What happened to an epoch's roots: the `RootProposed` events, oldest first, and how many were struck out."""

    proposed: list[dict[str, Any]]
    struck: int

    @property
    def standing(self) -> dict[str, Any] | None:
        """The one that stands."""
        return self.proposed[-1] if len(self.proposed) > self.struck else None


def proposals(rpc: Rpc, at: str, epoch: int) -> Proposals:
    """An epoch's roots.  One is struck out with every earlier one, whoever strikes it.  Raises `RpcError`."""
    return _of(epoch, _events(rpc, at, "RootProposed", f"0x{epoch:064x}"), _events(rpc, at, "RootsStruck"))


def _of(epoch: int, proposed: list[dict[str, Any]], strikes: list[dict[str, Any]]) -> Proposals:
    struck = sum(log["first"] <= epoch <= log["last"] for log in strikes)
    return Proposals([log for log in proposed if log["epoch"] == epoch], struck)


def beacon(rpc: Rpc, bundle: Bundle) -> tuple[int, bytes]:
    """Number and hash of the block in which the root that stands was proposed: who signed it did not know it yet.

    Raises `RpcError` where no root stands, or the node does not say.
    """
    manifest = bundle.manifest
    standing = proposals(rpc, manifest.distributor, manifest.epoch).standing
    if standing is None:
        raise RpcError(f"no root of epoch {manifest.epoch} stands at {manifest.distributor}")
    number, digest = str(standing["block"]), str(standing["block_hash"])
    if not _QUANTITY.match(number) or not _HASH.match(digest):
        raise RpcError(f"{rpc.url} does not say in which block the root was proposed")
    return int(number, 16), bytes.fromhex(digest[2:])


def on_chain(rpc: Rpc, bundle: Bundle, *, alone: bool = False) -> str:
    """What was found, in words.  Raises `Wrong`, or `NotReached` where the chain does not answer.

    `alone`: of the epochs before only what this bundle names is compared, and no bundle of them is opened.
    """
    try:
        return _compare(rpc, bundle, alone)
    except (RpcError, DecodingError) as error:
        raise NotReached(f"the chain's answer: {error}") from error


def _compare(rpc: Rpc, bundle: Bundle, alone: bool) -> str:
    manifest = bundle.manifest
    chain_id = rpc.number("eth_chainId")
    if chain_id != manifest.chain_id:
        raise Wrong(f"{rpc.url} is chain {chain_id}, the epoch is of chain {manifest.chain_id}")
    at, number = manifest.distributor, manifest.epoch
    found = proposals(rpc, at, number)
    last = found.standing
    if last is None:
        raise Wrong(f"no root of epoch {number} stands at {at}: {len(found.proposed)} proposed, {found.struck} struck")
    for what, there, here in (
        ("root", last["root"].hex(), manifest.root),
        ("root over the receipts", last["logRoot"].hex(), manifest.log_root),
        ("total", last["cumulativeTotal"], manifest.total),
        ("bundle", last["uri"], f"sha256:{bundle.digest}"),
    ):
        if there != here:
            raise Wrong(f"the {what} on chain is {there}, here it is {here}")
    if len(manifest.settlements) > found.struck + 1:
        raise Wrong(f"answers are settled in {len(manifest.settlements)} parts, and {found.struck} roots were struck")
    cap = rpc.read(DISTRIBUTOR, at, "maxEpochIncrease")[0]
    if manifest.cap != cap:
        raise Wrong(f"the bundle says that a root may add {manifest.cap}, the distributor {cap}")
    rest = _before(rpc, bundle, alone) + splits_on_chain.compare(rpc, bundle)
    return f"the distributor {at} on chain {chain_id} holds both roots, the total and the name of this bundle{rest}"


def _before(rpc: Rpc, bundle: Bundle, alone: bool) -> str:
    """The roots and bundles of the epochs before, by `previous`, as far as bundles are here.

    By their names alone nothing would keep an epoch from naming another bundle than the one that stood, without an
    answer that is to be paid again.
    """
    at, before = bundle.manifest.distributor, bundle.manifest.previous
    if before is None:
        return ""
    proposed, strikes, first = _events(rpc, at, "RootProposed"), _events(rpc, at, "RootsStruck"), before.epoch
    while before is not None:
        older, last = _of(before.epoch, proposed, strikes).standing, before.epoch
        if older is None or older["root"].hex() != before.root:
            raise Wrong(f"the root of epoch {last} on chain is not {before.root}, which is named here")
        if before.bundle and older["uri"] != f"sha256:{before.bundle}":
            raise Wrong(f"the bundle of epoch {last} on chain is {older['uri']}, named here is sha256:{before.bundle}")
        if alone or not before.bundle:
            break
        try:
            before = open_bundle(bundle.folder, before.bundle).manifest.previous
        except BadBundle:
            break  # `once` says how far bundles are here
    back = f"the root of epoch {first} and its bundle"
    if last != first:
        back = f"roots and bundles of epochs {first} back to {last}"
    return f", and {back} that are named here"


def _events(rpc: Rpc, at: str, event: str, *indexed: str) -> list[dict[str, Any]]:
    """The event's fields, its `block` and `block_hash`, oldest first; with those indexed ones alone, where named."""
    found = logs(rpc, at, DISTRIBUTOR, [event], *indexed)
    return [log.fields | {"block": hex(log.block), "block_hash": log.block_hash} for log in found]
