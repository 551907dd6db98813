"""Stops a wrong root: by two proofs where a leaf fell, which need no bond and no arbiter, else by a bonded challenge.

Sends only what the arbiter can find right: the root must stand on chain under this very bundle's name, all files must
be here, and a check must have found something wrong, not merely have been unable to look.  A root can have one open
challenge; a second one is refused before anything is paid.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from openledger.cli.epoch_on_chain import DISTRIBUTOR, proposals
from openledger.cli.rpc import Rpc
from openledger.client import Wallet
from openledger.epoch import roots
from openledger.epoch.bundle import LEAVES, BadBundle, Bundle, open_bundle, whole
from openledger.epoch.report import Report

_EVIDENCE = 400
"""Characters of what was found that go on chain, with the event."""


class NotSent(ValueError):
    """There is nothing to challenge, or not by this wallet; the text says why.  Nothing was paid."""


@dataclass(frozen=True)
class Stake:
    """A challenge that can be sent.  `bond` in atomic units; `evidence` is what the event will say."""

    epoch: int
    root: str
    distributor: str
    token: str
    bond: int
    evidence: str


@dataclass(frozen=True)
class Fall:
    """An account that the root gives less than the one before: a leaf and its proof in each, for `proveDecrease`."""

    epoch: int
    root: str
    distributor: str
    account: str
    earlier: tuple[int, int, list[bytes]]
    later: tuple[int, int, list[bytes]]

    @property
    def taken(self) -> int:
        """By how much the leaf fell, in atomic units."""
        return self.earlier[1] - self.later[1]


def fallen(rpc: Rpc, bundle: Bundle) -> Fall | None:
    """The first account whose leaf fell, if the chain holds these two roots.  Raises `RpcError`."""
    manifest, before = bundle.manifest, bundle.manifest.previous
    if before is None or _missing(bundle):
        return None
    at, trees = manifest.distributor, []
    for epoch, found in ((before.epoch, open_bundle(bundle.folder, before.bundle)), (manifest.epoch, bundle)):
        leaves = {row["account"]: amount for row in found.rows(LEAVES) if (amount := whole(row["cumulative"]))}
        standing, root = proposals(rpc, at, epoch).standing, roots.claims(manifest.chain_id, at, sorted(leaves.items()))
        if standing is None or standing["root"] != root:
            return None
        trees.append(leaves)
    was, now = trees
    account = next((who for who in sorted(was) if 0 < now.get(who, 0) < was[who]), None)
    if account is None:
        return None
    earlier, later = _proof(bundle, before.epoch, was, account), _proof(bundle, manifest.epoch, now, account)
    return Fall(manifest.epoch, "0x" + root.hex(), at, account, earlier, later)


def _proof(bundle: Bundle, epoch: int, amounts: dict[str, int], account: str) -> tuple[int, int, list[bytes]]:
    leaves = sorted(amounts.items())
    place = leaves.index((account, amounts[account]))
    proof = roots.proof(bundle.manifest.chain_id, bundle.manifest.distributor, leaves, place)
    return epoch, amounts[account], proof


def prove(rpc: Rpc, fall: Fall, wallet: Wallet) -> dict[str, Any]:
    """Strike the root by the two proofs; returns what was sent.  Raises `RpcError`."""
    sent = rpc.send(wallet, fall.distributor, DISTRIBUTOR, "proveDecrease", fall.account, fall.earlier, fall.later)
    told = {"epoch": fall.epoch, "root": fall.root, "distributor": fall.distributor, "account": fall.account}
    return told | {"taken": str(fall.taken), "challenger": wallet.address, "transaction": sent}


def prepare(rpc: Rpc, report: Report, bundle: Bundle, wallet: Wallet) -> Stake:
    """The challenge of the bundle's root, by that wallet.  Raises `NotSent`, and `RpcError`."""
    found = _grounds(report, bundle)
    at, number = bundle.manifest.distributor, bundle.manifest.epoch
    standing = proposals(rpc, at, number).standing
    if standing is None:
        raise NotSent(f"no root of epoch {number} stands at {at}: there is nothing to challenge")
    if standing["uri"] != f"sha256:{bundle.digest}":
        raise NotSent(f"the root of epoch {number} on chain is of the bundle {standing['uri']}: verify that one")
    challenger, verdict_by = rpc.read(DISTRIBUTOR, at, "challenges", number)
    if int(challenger, 16):
        raise NotSent(f"{challenger} has challenged it already; the arbiter has until {verdict_by} (Unix seconds)")
    if rpc.read(DISTRIBUTOR, at, "activeEpoch")[0] >= number:
        raise NotSent(f"epoch {number} is active: its window is over, and nothing stops an active root")
    bond, token = rpc.read(DISTRIBUTOR, at, "challengeBond")[0], rpc.read(DISTRIBUTOR, at, "token")[0]
    if (held := rpc.token_balance(token, wallet.address)) < bond:
        raise NotSent(f"the bond is {bond} atomic units of OPEN, and {wallet.address} holds {held}")
    return Stake(number, "0x" + standing["root"].hex(), at, token, bond, f"sha256:{bundle.digest} {found}"[:_EVIDENCE])


def send(rpc: Rpc, stake: Stake, wallet: Wallet) -> dict[str, Any]:
    """Approve the bond where it is not, and challenge; returns what was sent.  Raises `RpcError`."""
    (allowed,) = rpc.read("OpenToken", stake.token, "allowance", wallet.address, stake.distributor)
    if allowed < stake.bond:
        rpc.send(wallet, stake.token, "OpenToken", "approve", stake.distributor, stake.bond)
    root = bytes.fromhex(stake.root[2:])
    sent = rpc.send(wallet, stake.distributor, DISTRIBUTOR, "challenge", stake.epoch, root, stake.evidence)
    _, verdict_by = rpc.read(DISTRIBUTOR, stake.distributor, "challenges", stake.epoch)
    told = asdict(stake) | {"bond": str(stake.bond)}
    return told | {"challenger": wallet.address, "transaction": sent, "verdict_by": verdict_by}


def _grounds(report: Report, bundle: Bundle) -> str:
    """What is wrong with the root, in words.  Raises `NotSent` where that may be this machine's fault."""
    missing = _missing(bundle)
    if missing:
        raise NotSent(f"not all files are here, and what is missing may be right: {missing}")
    found = [f"{check.name}: {check.words}" for check in report.failed if check.name != "files"]
    if not found:
        raise NotSent("no check found anything wrong with it")
    return found[0]


def _missing(bundle: Bundle) -> str:
    try:
        for name in bundle.manifest.files:
            bundle.check(name)
        if bundle.manifest.previous is not None and bundle.manifest.previous.bundle:
            open_bundle(bundle.folder, bundle.manifest.previous.bundle).check(LEAVES)
    except BadBundle as error:
        return str(error)
    return ""
