"""`openledger verify epoch`: derives an epoch again from its bundle, on this machine, and says what was checked.

Exit status 0 when the epoch holds, 1 when it does not, 2 when there is nothing to check.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openledger.cli.verify import MARKS, address

if TYPE_CHECKING:
    from openledger.epoch.report import Report

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")


def verify_epoch(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The manifest: its file among the artifacts, or its SHA-256.")
    ],
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder of published artifacts.  Default: the one that BUNDLE is in.")
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(metavar="URL", help="JSON-RPC of the chain, to compare the root with.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option(help="Address that must have signed the receipts; may be repeated.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Do not look at the bundle of the epoch before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Derive an epoch's root again from its bundle: receipts, shares, journals, leaves, root.

    `openledger` and the ledger compute the same by code that they do not share.

    Example: openledger verify epoch sha256:... --artifacts build/demo/artifacts --rpc http://127.0.0.1:7405
    """
    folder, digest = _place(bundle, artifacts)
    signers = frozenset(address(text) for text in signer or ())
    if find_spec("pyarrow") is None:
        raise typer.BadParameter("bundles are Parquet files: pip install 'openledger[epochs]'")
    from openledger.epoch import verify

    report = verify.verify_epoch(folder, digest, signers, alone=alone)
    if rpc is not None:
        report = _with_chain(report, rpc, folder, digest)
    if as_json:
        sys.stdout.write(json.dumps(_document(report, folder, digest), indent=2) + "\n")
    else:
        _show(report, digest)
    raise typer.Exit(0 if report.ok else 1)


def _place(bundle: str, artifacts: Path | None) -> tuple[Path, str]:
    """The folder of artifacts, and the manifest's digest."""
    named = _DIGEST.match(bundle) or _DIGEST.match(Path(bundle).name)
    if named is None:
        raise typer.BadParameter(
            f"{bundle} is no bundle: give its SHA-256 as on chain, or its file artifacts/sha256/..", param_hint="BUNDLE"
        )
    if artifacts is None:
        here = Path(bundle).resolve()
        if _DIGEST.match(bundle) or here.parent.parent.name != "sha256":
            raise typer.BadParameter("say which folder the bundle is in", param_hint="--artifacts")
        artifacts = here.parents[2]
    if not artifacts.is_dir():
        raise typer.BadParameter(f"{artifacts} is no folder", param_hint="--artifacts")
    return artifacts, named[1]


def _with_chain(report: Report, url: str, folder: Path, digest: str) -> Report:
    from openledger.cli.epoch_on_chain import on_chain
    from openledger.cli.rpc import Rpc
    from openledger.epoch.bundle import open_bundle
    from openledger.epoch.report import Report, run

    try:
        rpc = Rpc(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rpc") from None
    return Report((*report.checks, run("chain", lambda at: on_chain(at, open_bundle(folder, digest)), rpc)))


def _document(report: Report, folder: Path, digest: str) -> dict[str, object]:
    return {
        "bundle": f"sha256:{digest}",
        "artifacts": str(folder),
        "ok": report.ok,
        "checks": [vars(check) for check in report.checks],
    }


def _show(report: Report, digest: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "check", box=None)
    table.add_column("what was found", overflow="fold")  # digests are shown whole
    for check in report.checks:
        table.add_row(MARKS[check.ok], check.name, escape(check.words))
    console.print(table)
    if report.ok:
        console.print("\n[green]The epoch holds.[/green]  Its root follows from its receipts.")
        return
    reason = report.failed[0].words if report.failed else "it could not be checked altogether"
    console.print(f"\n[red]The epoch of bundle {digest} does not hold:[/red] {escape(reason)}")
