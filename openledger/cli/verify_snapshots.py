"""`openledger verify record, snapshot, consistency`: checks proofs about snapshots on this machine.

Talks to no service; with --rpc to a chain, whose word on roots is compared.  Exit status 0 when it holds, 1 when it
does not, 2 when there is nothing to check or the chain does not answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openledger.snapshots import EXPORTED

if TYPE_CHECKING:
    from openledger.snapshots.documents import Entry

File = Annotated[Path, typer.Argument(metavar="FILE", help="A proof, as `openledger datanet` wrote it.")]
RpcUrl = Annotated[str | None, typer.Option("--rpc", help="JSON-RPC of a chain that must hold the snapshot's root.")]
Registry = Annotated[
    str | None, typer.Option("--registry", help="Address of the chain's DatanetRegistry, as you know it; with --rpc.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


def verify_record(file: File, rpc: RpcUrl = None, registry: Registry = None, as_json: Json = False) -> None:
    """Check that a record is in a snapshot, and the snapshot in its datanet's log.

    Example: openledger verify record 0f3a....proof.json --rpc http://127.0.0.1:7400 --registry 0x...
    """
    _say(file, "openledger.record-proof.v1", rpc, registry, as_json=as_json)


def verify_snapshot(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A proof, or a folder that `openledger datanet export` wrote.")
    ],
    rpc: RpcUrl = None,
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Check that a snapshot is in its datanet's log; of a folder, its files as well.

    Example: openledger verify snapshot terms
    """
    _say(file, "openledger.snapshot-proof.v1", rpc, registry, as_json=as_json)


def verify_consistency(file: File, rpc: RpcUrl = None, registry: Registry = None, as_json: Json = False) -> None:
    """Check that a datanet's log of snapshots only grew.

    Example: openledger verify consistency terms-1-3.proof.json
    """
    _say(file, "openledger.consistency-proof.v1", rpc, registry, as_json=as_json)


def _say(file: Path, kind: str, rpc: str | None, registry: str | None, *, as_json: bool) -> None:
    from openledger.cli.rpc import RpcError

    if (rpc is None) != (registry is None):
        raise typer.BadParameter("--rpc and --registry belong together: whose word counts, you say")
    try:
        words, entries = _checked(file, kind)
        chain = _on_chain(rpc, registry, entries) if rpc and registry else ""
    except (OSError, RpcError) as error:
        typer.echo(f"{file}: {error}. This says nothing about it.", err=True)
        raise typer.Exit(2) from None
    except ValueError as error:
        _print({"file": str(file), "ok": False, "words": str(error)}, f"It does not hold: {error}", as_json=as_json)
        raise typer.Exit(1) from None
    roots = {entry.snapshot: entry.root for entry in entries}
    yours = chain or "that these roots stand on chain is yours to look, or --rpc's"
    _print(
        {"file": str(file), "ok": True, "words": words, "roots": roots, "chain": chain},
        f"{words}; {yours}.",
        as_json=as_json,
    )


def _checked(file: Path, kind: str) -> tuple[str, list[Entry]]:
    """What holds, and of which snapshots.  Raises `ValueError`, `OSError`."""
    if file.is_dir():
        if kind != "openledger.snapshot-proof.v1":
            raise ValueError("it is a folder, and only a snapshot's can be checked")
        return _folder(file)
    from openledger.snapshots import proofs

    proof = proofs.parse(_read(file, proofs.MOST_BYTES))
    if proof.version != kind:
        raise ValueError(f"it is an {proof.version}, not an {kind}")
    return proof.check(), proofs.entries(proof)


def _folder(folder: Path) -> tuple[str, list[Entry]]:
    try:
        from openledger.snapshots import folder as folders
    except ModuleNotFoundError:
        raise typer.BadParameter("it needs pyarrow: pip install 'openledger[parquet]'") from None
    exported = folder / EXPORTED
    words, entry = folders.check(exported if exported.is_dir() else folder)
    return words, [entry]


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(most + 1)


def _on_chain(url: str, registry: str, entries: list[Entry]) -> str:
    from openledger import names
    from openledger.cli.registry import on_chain
    from openledger.cli.rpc import Rpc

    try:
        chain, at = Rpc(url), names.address(registry)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return on_chain(chain, at, entries)


def _print(document: dict[str, object], words: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        typer.echo(words)
