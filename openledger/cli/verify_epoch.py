"""`openledger verify epoch`: derives an epoch again from its bundle, on this machine, and says what was checked.

With `--challenge`, a root that does not follow is challenged on chain.  Exit status 0 when the epoch holds, 1 when it
does not (challenged or not), 2 when there is nothing to check or this machine cannot, 3 when nothing was found wrong,
and the chain could not be asked or a bundle of before is not there.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.verify import MARKS, address, open_store

if TYPE_CHECKING:
    from openledger.artifacts import ArtifactStore
    from openledger.cli.challenge import Fall, Stake
    from openledger.cli.rpc import Rpc
    from openledger.epoch.bundle import Folder
    from openledger.epoch.report import Report

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")


def verify_epoch(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The manifest: its file among the artifacts, or its SHA-256.")
    ],
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Folder of published artifacts, or where they are on the web.  Default: the one that BUNDLE is in.",
        ),
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(metavar="URL", help="JSON-RPC of the chain, to compare the root with.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option(help="Address that must have signed the receipts; may be repeated.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Do not look at the bundles of epochs before.")] = False,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="If the root is wrong, stake the bond against it on chain; needs --rpc.")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="File with your private key, or an encrypted keystore; for --challenge."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the bond is paid.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Derive an epoch's root again from its bundle: receipts, shares, journals, leaves, root.

    `openledger` and the ledger compute the same by code that they do not share.

    Example: openledger verify epoch sha256:... --artifacts build/demo/artifacts --rpc http://127.0.0.1:7400
    """
    store, digest = place(bundle, artifacts)
    if challenge and (rpc is None or key is None):
        raise typer.BadParameter("needs --rpc, where the chain is, and --key, with the bond", param_hint="--challenge")
    signers = frozenset(address(text) for text in signer or ())
    node = node_at(rpc) if rpc is not None else None
    report = checked(store.bring, digest, signers, node, alone=alone)
    if not as_json:
        _show(report, digest, store)
    document = _document(report, store, digest)
    if challenge and node is not None and key is not None and not report.ok:
        document["challenge"] = told = _challenge(report, node, key, store.bring, digest, yes=yes)
        if not as_json:
            typer.echo(_words(told))
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    raise typer.Exit(0 if report.ok else 3 if report.unsettled else 1)


def place(bundle: str, artifacts: str | None) -> tuple[ArtifactStore, str]:
    """The artifacts, and the manifest's digest, of a bundle as people name it."""
    named = _DIGEST.match(bundle) or _DIGEST.match(Path(bundle).name)
    if named is None:
        raise typer.BadParameter(
            f"{bundle} is no bundle: give its SHA-256 as on chain, or its file artifacts/sha256/..", param_hint="BUNDLE"
        )
    if artifacts is None:
        here = Path(bundle).resolve()
        if _DIGEST.match(bundle) or here.parent.parent.name != "sha256":
            raise typer.BadParameter("say which folder the bundle is in", param_hint="--artifacts")
        artifacts = str(here.parents[2])
    return open_store(artifacts), named[1]


def node_at(url: str) -> Rpc:
    """The chain at a URL as people type it."""
    from openledger.cli.rpc import Rpc

    try:
        return Rpc(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rpc") from None


def checked(folder: Folder, digest: str, signers: frozenset[str], node: Rpc | None, *, alone: bool) -> Report:
    """The bundle's report, with the chain's word where there is a node.  Ends the command where this machine cannot."""
    if find_spec("pyarrow") is None:
        raise typer.BadParameter("bundles are Parquet files: pip install 'openledger[epochs]'")
    from openledger.epoch import verify

    try:
        report = verify.verify_epoch(folder, digest, signers, alone=alone)
        return report if node is None else _with_chain(report, node, folder, digest, alone)
    except (OSError, MemoryError) as error:
        told = str(error) or "memory is exhausted"
        typer.echo(f"it could not be checked on this machine: {told}. This says nothing about the epoch.", err=True)
        raise typer.Exit(2) from None


def _with_chain(report: Report, rpc: Rpc, folder: Folder, digest: str, alone: bool) -> Report:
    from openledger.cli.epoch_on_chain import on_chain
    from openledger.epoch.bundle import open_bundle
    from openledger.epoch.report import Report, run

    def chain(at: Rpc) -> str:
        return on_chain(at, open_bundle(folder, digest), alone=alone)

    return Report((*report.checks, run("chain", chain, rpc)))


def _challenge(report: Report, rpc: Rpc, key: Path, folder: Folder, digest: str, *, yes: bool) -> dict[str, Any]:
    """What became of the challenge: `sent`, and with it all of it, or `why` not."""
    from openledger.cli.challenge import fallen, prepare, prove, send
    from openledger.cli.wallets import open_wallet
    from openledger.epoch.bundle import open_bundle

    try:
        wallet = open_wallet(key)
        bundle = open_bundle(folder, digest)
        if (fall := fallen(rpc, bundle)) is not None:
            if not yes and not typer.confirm(_asked_to_prove(fall), err=True):
                return {"sent": False, "why": "you said no; nothing was paid"}
            return {"sent": True, **prove(rpc, fall, wallet)}
        stake = prepare(rpc, report, bundle, wallet)
        if not yes and not typer.confirm(_asked(stake), err=True):
            return {"sent": False, "why": "you said no; nothing was paid"}
        return {"sent": True, **send(rpc, stake, wallet)}
    except (ValueError, OSError, RuntimeError) as error:  # a node's and a key file's are runtime errors
        return {"sent": False, "why": str(error)}


def _asked(stake: Stake) -> str:
    from openledger.money import format_open

    return (
        f"The root {stake.root} of epoch {stake.epoch} does not follow from its bundle.  A challenge freezes it and "
        f"costs a bond of {format_open(stake.bond, 18)} OPEN: it comes back if the root is struck out, and is "
        "lost if the arbiter finds the root right.  Challenge it?"
    )


def _asked_to_prove(fall: Fall) -> str:
    from openledger.money import format_open

    return (
        f"The root {fall.root} of epoch {fall.epoch} gives {fall.account} {format_open(fall.taken, 18)} OPEN less than "
        "the one before.  Two proofs strike it out at once, without a bond; it costs gas.  Strike it?"
    )


def _words(told: dict[str, Any]) -> str:
    if not told["sent"]:
        return f"Not challenged: {told['why']}"
    if "taken" in told:
        return f"Struck out in {told['transaction']}: the leaf of {told['account']} fell by {told['taken']}."
    return (
        f"Challenged in {told['transaction']}: the root is frozen until the arbiter decides, at the latest at "
        f"{told['verdict_by']} (Unix seconds)."
    )


def _document(report: Report, artifacts: ArtifactStore, digest: str) -> dict[str, Any]:
    return {
        "bundle": f"sha256:{digest}",
        "artifacts": str(artifacts),
        "ok": report.ok,
        "outcome": "holds" if report.ok else "could not be checked" if report.unsettled else "does not hold",
        "checks": [vars(check) for check in report.checks],
    }


def _show(report: Report, digest: str, artifacts: ArtifactStore) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "check", box=None)
    table.add_column("what was found", overflow="fold")  # digests are shown whole
    for check in report.checks:
        table.add_row(MARKS[check.ok], check.name, escape(check.words))
    console.print(table)
    if not report.ok and "://" in str(artifacts):
        console.print(f"\nWhat is missing is not at {artifacts}, which may lack what is published.", soft_wrap=True)
    if report.ok:
        console.print("\n[green]The epoch holds.[/green]  Its root follows from its receipts.")
        return
    if report.unsettled:
        missing = next(check for check in report.checks if check.ok is None)
        told = f"Nothing was found wrong with it.  {missing.name}: {missing.words}"
        console.print(f"\n[yellow]The epoch of bundle {digest} could not be checked:[/yellow] {escape(told)}")
        return
    reason = report.failed[0].words
    console.print(f"\n[red]The epoch of bundle {digest} does not hold:[/red] {escape(reason)}")
