"""Derives an epoch again from its bundle: receipts, shares, journals, leaves, roots.  Talks to nobody, believes nobody.

Not known here: whether receipts measure what they say (`openledger verify RECEIPT`), whether any are missing (whoever
was answered has the answer's name, and can look whether its receipt is in the log), and what is on chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openledger.epoch import receipts, roots, splits
from openledger.epoch.bundle import LEAVES, Bundle, Folder, Manifest, open_bundle, whole
from openledger.epoch.case import Case, Leaf
from openledger.epoch.corrections import corrections
from openledger.epoch.journals import journals
from openledger.epoch.once import once
from openledger.epoch.report import Report, Wrong, run


def verify_epoch(folder: Folder, digest: str, signers: frozenset[str] = frozenset(), *, alone: bool = False) -> Report:
    """Check the bundle whose manifest has that SHA-256, among the artifacts in `folder`.

    `signers`: lower-case addresses that must have signed the receipts; anybody's if empty.  `alone`: the bundle before
    is not looked at.  Never raises for what is in the files: the report says what is wrong.  Raises `OSError` and
    `MemoryError` where this machine cannot read them: then nothing was found out.
    """
    case = Case(folder, digest, signers, alone)
    return Report(tuple(run(name, step, case) for name, step in _STEPS))


def _files(case: Case) -> str:
    found = open_bundle(case.folder, case.digest)
    for name in found.manifest.files:
        found.check(name)
    case.bundle = found
    rows = ", ".join(f"{file.rows} {name.partition('.')[0]}" for name, file in sorted(found.manifest.files.items()))
    return f"the manifest {case.digest} names files that are here, byte for byte: {rows}"


def _leaves(case: Case) -> str:
    earned, leaves, last = dict(case.followed.earned), {}, ""
    for row in case.given.rows(LEAVES):
        account, leaf = row["account"], _leaf(row)
        if account <= last:
            raise Wrong(f"the leaves are not in the order of accounts: {account} after {last}")
        if leaf.due != leaf.waited + earned.pop(account, 0):
            raise Wrong(
                f"the leaf of {account} is {leaf.cumulative}, and {leaf.waiting} wait; {leaf.before} before, "
                f"{leaf.waited} that waited, and what this epoch's journals give make "
                f"{leaf.before + leaf.waited + case.followed.earned.get(account, 0)}"
            )
        leaves[account], last = leaf, account
    if missing := sorted(who for who, amount in earned.items() if amount):
        raise Wrong(f"{missing[0]} earned {earned[missing[0]]} in this epoch and has no leaf")
    held = _within_the_cap(case.given.manifest.cap, leaves)
    case.leaves = leaves
    return f"the leaves of {len(leaves)} accounts are what they had before and what this epoch's journals give{held}"


def _leaf(row: dict[str, Any]) -> Leaf:
    before, cumulative = whole(row["before"]), whole(row["cumulative"])
    return Leaf(before, whole(row["waited"]), cumulative, whole(row["waiting"]))


def _within_the_cap(cap: int, leaves: dict[str, Leaf]) -> str:
    """What waits is what one root may not add: everybody's in the same proportion, rounded down."""
    total = sum(leaf.due for leaf in leaves.values())
    for account, leaf in leaves.items():
        given = leaf.due if total <= cap else leaf.due * cap // total
        if leaf.cumulative != leaf.before + given:
            rise = leaf.cumulative - leaf.before
            raise Wrong(f"the leaf of {account} rises by {rise}, by the cap on roots ({cap}) it is {given}")
    return "" if total <= cap else f"; {total} are due, and the cap lets one root add {cap}"


def _previous(case: Case) -> str:
    manifest, leaves = case.given.manifest, case.sound
    place, before = manifest.previous, {who: leaf.before for who, leaf in leaves.items() if leaf.before}
    if place is None:
        if before or any(leaf.waited for leaf in leaves.values()) or manifest.epoch != 1:
            raise Wrong(f"epoch {manifest.epoch} names none before it, and accounts have something from before")
        return "it is the first epoch: nobody has anything from before"
    if place.epoch != manifest.epoch - 1:
        raise Wrong(f"epoch {manifest.epoch} follows epoch {place.epoch}")
    if roots.claims(manifest.chain_id, manifest.distributor, sorted(before.items())).hex() != place.root:
        raise Wrong(f"what accounts are said to have had before is not what the root of epoch {place.epoch} promised")
    if case.alone:
        return f"what accounts had before makes the root named for epoch {place.epoch}; its bundle was not looked at"
    if not place.bundle:
        raise Wrong(f"epoch {place.epoch} has no bundle of this kind to check against: compare its root on chain")
    older = open_bundle(case.folder, place.bundle)
    _follows(manifest, older, leaves)
    return (
        f"what accounts had before is what the bundle of epoch {place.epoch} gives them ({place.bundle}), and no leaf "
        f"is lower{_another_lag(manifest, older.manifest)}"
    )


def _another_lag(now: Manifest, before: Manifest) -> str:
    """Whoever signs receipts gains by a longer one; that is not wrong in itself."""
    if now.splits is None or before.splits is None or now.splits.lag == before.splits.lag:
        return ""
    return f"; the lag is {now.splits.lag} s, and was {before.splits.lag} s there"


def _follows(manifest: Manifest, older: Bundle, leaves: dict[str, Leaf]) -> None:
    older.check(LEAVES)
    there, named = older.manifest, manifest.previous
    assert named is not None
    same = (there.epoch, there.root, there.chain_id, there.distributor)
    if same != (named.epoch, named.root, manifest.chain_id, manifest.distributor):
        raise Wrong(f"the bundle {older.digest} is not of epoch {named.epoch} with the root {named.root}")
    if manifest.settlements[0].above != there.settlements[-1].through:
        raise Wrong(f"the settlements do not go on where those of epoch {named.epoch} ended")
    if there.splits is not None and (manifest.splits is None or manifest.splits.registry != there.splits.registry):
        raise Wrong(f"the splits are not by the registry of epoch {named.epoch}, {there.splits.registry}")
    ended = {row["account"]: _leaf(row) for row in older.rows(LEAVES)}
    had = {who: (leaf.before, leaf.waited) for who, leaf in leaves.items() if leaf.before or leaf.waited}
    if {who: (leaf.cumulative, leaf.waiting) for who, leaf in ended.items()} != had:
        raise Wrong(
            f"what accounts are said to have had before is not what the bundle of epoch {named.epoch} gives them"
        )


def _root(case: Case) -> str:
    manifest, leaves = case.given.manifest, case.sound
    amounts = [(who, leaf.cumulative) for who, leaf in leaves.items() if leaf.cumulative]
    found = roots.claims(manifest.chain_id, manifest.distributor, amounts).hex()
    if found != manifest.root:
        raise Wrong(f"the root over these leaves is {found}, the manifest says {manifest.root}")
    if (total := sum(amount for _, amount in amounts)) != manifest.total:
        raise Wrong(f"the leaves sum to {total}, the manifest says {manifest.total}")
    return f"the root over the leaves, computed again, is {found}; they sum to {total}"


def _log_root(case: Case) -> str:
    manifest = case.given.manifest
    if (found := roots.log(case.followed.digests).hex()) != manifest.log_root:
        raise Wrong(f"the root over these receipts is {found}, the manifest says {manifest.log_root}")
    return f"the root over the receipts' digests, computed again, is {found}"


_STEPS: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("files", _files),
    ("terms", receipts.terms),
    ("splits", splits.splits),
    ("signatures", receipts.signatures),
    ("corrections", corrections),
    ("shares", receipts.shares),
    ("journals", journals),
    ("leaves", _leaves),
    ("previous", _previous),
    ("once", once),
    ("root", _root),
    ("log_root", _log_root),
)
