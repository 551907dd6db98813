"""`openledger verify grade`: derives a model's grade again from its measurements, on this machine.

Exit status 0 when it holds, 1 when it does not or leaves out an answer that had to be measured, 2 when there is nothing
to check or this machine cannot, 3 when nothing is wrong and private answers keep the rest from being known: they were
passed over, or losses were to be measured again that are all of theirs.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.verify import address, base_folder, be_quiet, open_store
from openledger.cli.verify_sample import seed_of

if TYPE_CHECKING:
    from openledger.artifacts import ArtifactStore
    from openledger.grade import Grade
    from openledger.manifest import LineageManifest
    from openledger.verify_grade import Passed


def verify_grade(
    grade: Annotated[str, typer.Argument(metavar="GRADE", help="Its SHA-256, as `openledger audit` says it.")],
    artifacts: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of published artifacts.")],
    signer: Annotated[str | None, typer.Option(help="Address that must have signed.")] = None,
    budget: Annotated[
        int, typer.Option(min=0, max=10_000, help="How many of its losses are measured again, drawn by chance.")
    ] = 0,
    seed: Annotated[str | None, typer.Option(metavar="HEX", help="32 bytes that draw instead.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model by name, or its folder.  Default: what the model's manifest names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Check a grade's numbers, and that none of the answers that had to be measured is missing.

    Answers whose receipts are not in the folder are not known here.  With --budget some of the losses that the grade
    rests on are measured again, one forward pass each: of answers whose traces are published; private ones are counted.

    Example: openledger verify grade 3f6c... --artifacts build/demo/artifacts --budget 60
    """
    if "://" in artifacts:
        raise typer.BadParameter(
            "what a grade leaves out is looked for among all receipts, and a web server does not say which it has: "
            "copy the folder",
            param_hint="--artifacts",
        )
    store, digest = open_store(artifacts), grade.removeprefix("sha256:")
    expected = address(signer) if signer is not None else None
    drawn_by = seed_of(seed) or secrets.token_bytes(32)
    folder = base_folder(base) if base is not None else None
    _must_be_there(store, digest)
    found = _check(digest, store, expected)
    if budget and found["ok"]:
        be_quiet()
        more = _guarded(lambda: _measured(digest, store, folder, drawn_by, budget))
        found |= more | {"words": f"{found['words']} {more['words']}"}
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        typer.echo(found["words"])
    unknown = found["private"] or found.get("measured", {}).get("of") == 0
    raise typer.Exit(1 if not found["ok"] else 3 if unknown else 0)


def _must_be_there(store: ArtifactStore, digest: str) -> None:
    from openledger.artifacts import ArtifactError

    try:
        there = store.has(digest)
    except ArtifactError as error:
        raise typer.BadParameter(str(error), param_hint="GRADE") from None
    if not there:
        raise typer.BadParameter(f"{digest} is not among the artifacts in {store.root}", param_hint="GRADE")


def _check(digest: str, store: ArtifactStore, signer: str | None) -> dict[str, Any]:
    return _guarded(lambda: _derived(digest, store, signer))


def _guarded(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it finds; what it raises is the grade's fault, or this machine's."""
    from openledger.verify_case import advice, is_this_machines

    try:
        return check()
    except Exception as error:
        if is_this_machines(error):
            typer.echo(f"{advice(error)}. This says nothing about the grade.", err=True)
            raise typer.Exit(2) from None
        if not isinstance(error, ValueError):
            raise
        return {"ok": False, "words": f"The grade does not hold: {error}", **_passed()}


def _read(digest: str, store: ArtifactStore) -> tuple[Grade, LineageManifest]:
    from openledger import grade as grades
    from openledger.adapters import read_manifest

    given = grades.parse(store.get(digest))
    return given, read_manifest(store, given.revision.rpartition("/")[2])


def _derived(digest: str, store: ArtifactStore, signer: str | None) -> dict[str, Any]:
    from openledger import verify_grade

    given, lineage = _read(digest, store)
    words = verify_grade.check(given, signer or given.signer, lineage, store)
    over = verify_grade.passed(given, store)
    if over.due:
        words = f"The grade leaves out answers that had to be measured; ask its signer why: {_named(over.due)}"
        return {"ok": False, "words": words, **_passed(*over)}
    said = f"{given.mean_milli / 1000:.3f} [{given.low_milli / 1000:.3f}, {given.high_milli / 1000:.3f}]"
    drawn = "" if given.audit_bps is None else _drawn(given.audit_bps, over)
    return {"ok": True, "words": f"The grade of {given.revision} is {said}: {words}{drawn}.", **_passed(*over)}


def _drawn(audit_bps: int, over: Passed) -> str:
    """Of answers that are drawn: whether any are passed over."""
    told = [f"of 10000 answers {audit_bps} are drawn, and none of those here is left out"]
    if over.private:
        told.append(
            "but for private ones, which their payers may have ended before they could be measured (ask the grade's "
            f"signer): {_named(over.private)}"
        )
    if over.undated:
        told.append(
            f"as far as can be told: {len(over.undated)} were not measured whose receipts do not say when they ended, "
            "and whose traces are not here"
        )
    return f"; {', '.join(told)}"


def _named(responses: Sequence[str]) -> str:
    return ", ".join(responses[:10]) + (f" and {len(responses) - 10} more" if len(responses) > 10 else "")


def _passed(due: Sequence[str] = (), private: Sequence[str] = (), undated: Sequence[str] = ()) -> dict[str, list[str]]:
    return {"unmeasured": list(due), "private": list(private), "undated": list(undated)}


def _measured(digest: str, store: ArtifactStore, base: Path | None, seed: bytes, budget: int) -> dict[str, Any]:
    """Some of its losses, measured again."""
    from openledger import base_models
    from openledger.adapters import materialise
    from openledger.artifacts import file_sha256
    from openledger.influence.gradient import Scorer
    from openledger.verify_rises import remeasure

    given, lineage = _read(digest, store)
    folder = base if base is not None else base_models.locate(lineage.base.name)
    if file_sha256(folder / "model.safetensors") != lineage.base.sha256:
        raise typer.BadParameter(f"{folder} is not the base model that was tuned", param_hint="--base")
    with tempfile.TemporaryDirectory(prefix="openledger-verify-") as scratch:
        adapter = materialise(store, lineage.digest, Path(scratch))
        found = remeasure(given, store, Scorer(folder), adapter, seed, budget)
    words = f"Of grade {digest}, {found.words()} (drawn by {seed.hex()})."
    measured = {"drawn": found.drawn, "of": found.of, "at_most": found.at_most, "confidence": found.confidence}
    measured["private"] = found.private
    return {
        "ok": not found.wrong,
        "words": words,
        "measured": measured | {"wrong": list(found.wrong), "seed": seed.hex()},
    }
