"""`openledger verify grade`: derives a model's grade again from its measurements, on this machine.

Exit status 0 when it holds, 1 when it does not or leaves out an answer that had to be measured, 2 when there is nothing
to check or this machine cannot.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.verify import address, open_store

if TYPE_CHECKING:
    from openledger.artifacts import ArtifactStore


def verify_grade(
    grade: Annotated[str, typer.Argument(metavar="GRADE", help="Its SHA-256, as `openledger audit` says it.")],
    artifacts: Annotated[Path, typer.Option(help="Folder of published artifacts.")],
    signer: Annotated[str | None, typer.Option(help="Address that must have signed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Check a grade's numbers, and that none of the answers that had to be measured is missing.

    Answers whose receipts are not in the folder are not known here.

    Example: openledger verify grade 3f6c... --artifacts build/demo/artifacts
    """
    store, digest = open_store(artifacts), grade.removeprefix("sha256:")
    expected = address(signer) if signer is not None else None
    _must_be_there(store, digest)
    found = _check(digest, store, expected)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        typer.echo(found["words"])
    raise typer.Exit(0 if found["ok"] else 1)


def _must_be_there(store: ArtifactStore, digest: str) -> None:
    from openledger.artifacts import ArtifactError

    try:
        there = store.has(digest)
    except ArtifactError as error:
        raise typer.BadParameter(str(error), param_hint="GRADE") from None
    if not there:
        raise typer.BadParameter(f"{digest} is not among the artifacts in {store.root}", param_hint="GRADE")


def _check(digest: str, store: ArtifactStore, signer: str | None) -> dict[str, Any]:
    from openledger import grade as grades
    from openledger import verify_grade
    from openledger.adapters import read_manifest
    from openledger.verify_case import advice, is_this_machines

    try:
        given = grades.parse(store.get(digest))
        lineage = read_manifest(store, given.revision.rpartition("/")[2])
        words = verify_grade.check(given, signer or given.signer, lineage, store)
        missing = verify_grade.unmeasured(given, store)
        undated = verify_grade.undated(given, store)
    except Exception as error:
        if is_this_machines(error):
            typer.echo(f"{advice(error)}. This says nothing about the grade.", err=True)
            raise typer.Exit(2) from None
        if not isinstance(error, ValueError):
            raise
        return {"ok": False, "words": f"The grade does not hold: {error}", "unmeasured": [], "undated": []}
    if missing:
        told = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        words = f"The grade leaves out answers that had to be measured; ask its signer why: {told}"
        return {"ok": False, "words": words, "unmeasured": missing, "undated": undated}
    said = f"{given.mean_milli / 1000:.3f} [{given.low_milli / 1000:.3f}, {given.high_milli / 1000:.3f}]"
    drawn = f"; of 10000 answers {given.audit_bps} are drawn, and none of those here is left out"
    if undated:
        drawn += (
            f", as far as can be told: {len(undated)} were not measured whose traces are not public, nor their times"
        )
    return {
        "ok": True,
        "words": f"The grade of {given.revision} is {said}: {words}{'' if given.audit_bps is None else drawn}.",
        "unmeasured": [],
        "undated": undated,
    }
