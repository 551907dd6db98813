"""`openledger verify`: checks a receipt on this machine, says in words what was checked, and talks to no service.

Exit status 0 when the receipt holds, 1 when it does not, 2 when there is nothing to check or this machine cannot, 3
when all holds that can be checked without the trace, which its payer has.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openledger.artifacts import ArtifactStore
    from openledger.verify import Report

MARKS = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]-[/yellow]"}


def verify(
    receipts: Annotated[list[Path], typer.Argument(metavar="RECEIPT...", help="Receipt files, as they were signed.")],
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Folder of published artifacts, or where they are on the web.  Default: artifacts/ beside or above "
            "the receipt.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model by name, or its folder.  Default: what the receipt names.")
    ] = None,
    signer: Annotated[str | None, typer.Option(help="Address that must have signed.")] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="The trace, of one receipt.  Default: the .trace file beside it, or a published one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Recompute receipts from the published artifacts, and say what was checked.

    Where a trace is private and you do not have it, all is checked that needs none, and what was not is said.

    Example: openledger verify build/demo/receipts/*.json --signer 0x...
    """
    if trace is not None and len(receipts) > 1:
        raise typer.BadParameter("a trace is of one receipt, and several are given", param_hint="--trace")
    documents = [(file, read_receipt(file), trace_of(file, trace)) for file in receipts]
    named = open_store(artifacts) if artifacts is not None else None
    stores = [named or open_store(artifacts_of(file)) for file in receipts]
    folder = base_folder(base) if base is not None else None
    expected = address(signer) if signer is not None else None
    be_quiet()
    from openledger.verify import Files, Unchecked, verify_receipt

    found, files = [], {store.root: Files(store) for store in stores}
    for (file, data, given), store in zip(documents, stores, strict=True):
        try:
            report = verify_receipt(data, files[store.root], folder, expected, trace=given)
        except Unchecked as error:
            typer.echo(f"{file}: {error}. This says nothing about the receipt.", err=True)
            raise typer.Exit(2) from None
        found.append(report)
        if not as_json:
            _show(report, file)
    if as_json:
        shown = [_document(r, f, s) for r, f, s in zip(found, receipts, stores, strict=True)]
        sys.stdout.write(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2) + "\n")
    whole = all(report.ok for report in found)
    raise typer.Exit(0 if whole else 3 if all(report.ok or report.withheld for report in found) else 1)


def open_store(artifacts: str) -> ArtifactStore:
    """Published artifacts, as people name them: a folder, or a URL, from which they are brought into the cache."""
    from openledger.artifacts import ArtifactStore
    from openledger.cache import cache_folder
    from openledger.mirror import Mirror

    if "://" in artifacts:
        try:
            return Mirror(artifacts, cache_folder("artifacts"))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--artifacts") from None
    if not Path(artifacts).is_dir():
        raise typer.BadParameter(f"{artifacts} is no folder", param_hint="--artifacts")
    return ArtifactStore(Path(artifacts))


def read_receipt(file: Path) -> bytes:
    """A file's bytes."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="RECEIPT") from None


def trace_of(file: Path, named: Path | None = None) -> bytes | None:
    """The trace that was named, or that lies beside a receipt."""
    beside = file.with_suffix(".trace")
    if named is None:
        return read_receipt(beside) if beside.is_file() else None
    try:
        return named.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{named} cannot be read: {error.strerror}", param_hint="--trace") from None


def artifacts_of(file: Path) -> str:
    """The folder of artifacts that a receipt's file lies beside."""
    for folder in file.resolve().parents:
        if (folder / "artifacts" / "sha256").is_dir():
            return str(folder / "artifacts")
    raise typer.BadParameter(
        f"there is no folder artifacts/ beside or above {file}: say where it is", param_hint="--artifacts"
    )


def base_folder(name: str) -> Path:
    """A base model by name, or its folder, as people type it."""
    from openledger import base_models

    try:
        return base_models.locate(name)
    except base_models.BaseModelUnavailable as error:
        raise typer.BadParameter(str(error), param_hint="--base") from None


def address(text: str) -> str:
    """A signer's address as people type it."""
    from openledger import names

    try:
        return names.address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--signer") from None


def be_quiet() -> None:
    """Loading a model must not draw progress bars into the report."""
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        raise typer.BadParameter(f"it needs {' and '.join(missing)}: pip install 'openledger[model]'")
    from transformers.utils import logging

    logging.disable_progress_bar()


def _document(report: Report, file: Path, artifacts: ArtifactStore) -> dict[str, object]:
    return {
        "receipt": str(file),
        "artifacts": str(artifacts),
        "ok": report.ok,
        "withheld": report.withheld,
        "checks": [vars(check) for check in report.checks],
    }


def _show(report: Report, file: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from openledger.money import format_open

    console = Console(highlight=False)
    table = Table("", "check", box=None)
    table.add_column("what was found", overflow="fold")  # digests are shown whole
    for check in report.checks:
        table.add_row(MARKS[check.ok], check.name, escape(check.words))
    console.print(table)
    if report.ok and report.receipt is not None:
        fee = format_open(report.receipt.fee)
        console.print(f"\n[green]The receipt holds.[/green]  Of {fee} OPEN, contributors' shares provisional:")
        for key, amount in sorted(report.receipt.shares.items(), key=lambda share: (-share[1], share[0])):
            console.print(f"  {format_open(amount, 9):>14}  {escape(key)}")
    elif report.withheld:
        left = ", ".join(check.name for check in report.unchecked)
        console.print(
            f"\n[yellow]What can be checked of {escape(str(file))} without its trace holds.[/yellow] The trace is "
            f"private, so this was not checked: {left}. Whether the losses and scores are those of the answer, only "
            "who has the trace can find out."
        )
    else:
        reason = report.failed[0].words if report.failed else "it could not be checked"
        console.print(f"\n[red]The receipt in {escape(str(file))} does not hold:[/red] {escape(reason)}")
