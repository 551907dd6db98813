"""`openledger verify sample`: computes some of an epoch's receipts again, and says what that says of all of them.

Exit status 0 when none is wrong, 1 when one is (or the epoch does not hold), 2 when there is nothing to check or this
machine cannot.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli import verify_epoch
from openledger.cli.verify import address, artifacts_of, base_folder, be_quiet, open_store, read_receipt, trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openledger.artifacts import ArtifactStore
    from openledger.receipt import Receipt
    from openledger.spot_check import Item
    from openledger.verify_sample import Population, Sample

_BUNDLE = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
_SEED = re.compile(r"(?:0x)?([0-9a-f]{64})\Z")


def verify_sample(
    of: Annotated[
        list[str], typer.Argument(metavar="BUNDLE|RECEIPT...", help="A bundle as for `verify epoch`, or files.")
    ],
    budget: Annotated[int, typer.Option(min=2, max=10_000, help="How many receipts are computed again at most.")] = 60,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="32 bytes that draw.  Default: chance, or what --rpc says.")
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option(metavar="URL", help="JSON-RPC of the chain: draws by the hash of the block that holds the root."),
    ] = None,
    confidence: Annotated[int, typer.Option(min=50, max=99, help="Of what is said of all receipts, in per cent.")] = 95,
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Folder of published artifacts, or where they are on the web.  Default: the one beside BUNDLE or "
            "RECEIPT.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model by name, or its folder.  Default: what each receipt names.")
    ] = None,
    signer: Annotated[str | None, typer.Option(help="Address that must have signed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Compute some receipts again that nobody could know would be drawn; say how many of all may be wrong.

    Drawn from are receipts that say that their traces are published, and of files also those with the .trace file
    beside; of private ones only who paid can have the rest checked, and how many those are is said.  A receipt whose
    trace or model should be there and is not counts as wrong.

    Example: openledger verify sample sha256:... --artifacts build/demo/artifacts --rpc http://127.0.0.1:7400
    """
    drawn_by = seed_of(seed)
    expected = address(signer) if signer is not None else None
    folder = base_folder(base) if base is not None else None
    beacon: dict[str, Any] | None = None
    given: dict[str, bytes] = {}
    if len(of) == 1 and _BUNDLE.match(Path(of[0]).name):
        store, population, beacon = _of_bundle(of[0], artifacts, rpc, expected)
    elif rpc is not None:
        raise typer.BadParameter("files are in no root: name the epoch's bundle", param_hint="--rpc")
    else:
        store, population, given = _of_files([Path(name) for name in of], artifacts)
    be_quiet()
    if drawn_by is None:
        drawn_by = bytes.fromhex(beacon["hash"]) if beacon else secrets.token_bytes(32)
    found = _sample(population, drawn_by, budget, confidence, _checker(store, folder, expected, given))
    how = _how(drawn_by, given=seed is not None, beacon=beacon)
    if as_json:
        sys.stdout.write(json.dumps(_document(found, drawn_by, beacon, how), indent=2) + "\n")
    else:
        _show(found, how)
    raise typer.Exit(0 if found.ok else 1)


def seed_of(text: str | None) -> bytes | None:
    """A seed as people type it; None where they do not."""
    if text is None:
        return None
    found = _SEED.match(text)
    if found is None:
        raise typer.BadParameter("a seed is 32 bytes, 64 hex digits in lower case", param_hint="--seed")
    return bytes.fromhex(found[1])


def _of_bundle(
    bundle: str, artifacts: str | None, rpc: str | None, signer: str | None
) -> tuple[ArtifactStore, Population, dict[str, Any] | None]:
    """Its receipts, once the epoch is known to hold; and the block that draws, where there is a chain."""
    from openledger.cli.epoch_on_chain import beacon
    from openledger.cli.rpc import RpcError
    from openledger.epoch.bundle import open_bundle
    from openledger.epoch.receipts import is_public, stream
    from openledger.verify_sample import Population

    store, digest = verify_epoch.place(bundle, artifacts)
    node = verify_epoch.node_at(rpc) if rpc is not None else None
    report = verify_epoch.checked(store.bring, digest, frozenset({signer} if signer else ()), node, alone=True)
    if not report.ok:
        why = next(f"{check.name}: {check.words}" for check in report.checks if not check.ok)
        typer.echo(f"The epoch itself does not hold, so nothing was drawn: {why}", err=True)
        raise typer.Exit(1)
    opened, block = open_bundle(store.bring, digest), None
    if node is not None:
        try:
            number, found = beacon(node, opened)
        except RpcError as error:
            raise typer.BadParameter(str(error), param_hint="--rpc") from None
        block = {"block": number, "hash": found.hex()}

    def items() -> Iterator[tuple[Item, bool]]:
        for number, document, data in stream(opened):
            yield _item(data, int(document["fee"])), is_public(number, document)

    return store, Population.of_public(items), block


def _of_files(files: list[Path], artifacts: str | None) -> tuple[ArtifactStore, Population, dict[str, bytes]]:
    """Each receipt once, in the order of their digests; and the traces that lie beside them, by receipt's SHA-256."""
    from openledger.verify_sample import Population

    found, given = {}, {}
    for file in files:
        data, receipt = _read(file)
        item, beside = _item(data, receipt.fee), _beside(file, receipt)
        found[item.digest] = item, receipt.published
        if beside is not None:
            given[item.digest] = beside
    store = open_store(artifacts if artifacts is not None else artifacts_of(files[0]))
    known = [(item, public or item.digest in given) for item, public in map(found.__getitem__, sorted(found))]
    return store, Population.of_public(lambda: known), given


def _read(file: Path) -> tuple[bytes, Receipt]:
    from openledger.receipt import parse

    data = read_receipt(file)
    try:
        return data, parse(data)
    except ValueError as error:
        raise typer.BadParameter(f"{file} is no receipt: {error}", param_hint="RECEIPT") from None


def _beside(file: Path, receipt: Receipt) -> bytes | None:
    """The trace beside a receipt.  Another one is refused: it is of whoever checks, and no fault of the receipt's."""
    from openledger.canonical import sha256

    trace = trace_of(file)
    if trace is not None and sha256(trace) != receipt.trace_sha256:
        raise typer.BadParameter(
            f"{file.with_suffix('.trace')} is not the trace that {file} names",
            param_hint="RECEIPT",
        )
    return trace


def _item(data: bytes, fee: int) -> Item:
    from openledger.canonical import sha256
    from openledger.spot_check import Item

    return Item(sha256(data), fee, data)


def _checker(
    store: ArtifactStore, base: Path | None, signer: str | None, given: Mapping[str, bytes]
) -> Callable[[bytes], str]:
    """Why a receipt does not hold; empty where it does.  given: traces, by receipt's SHA-256."""
    from openledger.canonical import sha256
    from openledger.verify import Files, verify_receipt

    files = Files(store)

    def check(data: bytes) -> str:
        report = verify_receipt(data, files, base, signer, trace=given.get(sha256(data)))
        return next((f"{check.name}: {check.words}" for check in report.checks if not check.ok), "")

    return check


def _sample(population: Population, seed: bytes, budget: int, confidence: int, check: Callable[[bytes], str]) -> Sample:
    from openledger.verify import Unchecked
    from openledger.verify_sample import verify_sample as drawn

    if not population.count:
        private = f": of {population.private} the traces are private" if population.private else ""
        raise typer.BadParameter(f"there are no receipts to draw from{private}")
    try:
        return drawn(population, seed, budget, confidence, check)
    except Unchecked as error:
        typer.echo(f"{error}. This says nothing about the receipts.", err=True)
        raise typer.Exit(2) from None


def _how(seed: bytes, beacon: dict[str, Any] | None, *, given: bool) -> str:
    """Who chose, in words: nothing follows for whoever can have known the seed before the receipts were fixed."""
    if given:
        return f"Drawn by the seed that you gave, {seed.hex()}: it says nothing if their signer could know it before."
    if beacon is not None:
        return (
            f"Drawn by the hash of block {beacon['block']}, {beacon['hash']}, in which the root was proposed: anybody "
            "draws the same. Whoever makes that chain's blocks could have chosen it."
        )
    return f"Drawn by chance of this machine; --seed {seed.hex()} draws the same again."


def _document(found: Sample, seed: bytes, beacon: dict[str, Any] | None, how: str) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "receipts": found.population.count,
        "fees": str(found.population.fees),
        "private": found.population.private,
        "private_fees": str(found.population.private_fees),
        "checked": found.checked,
        "seed": seed.hex(),
        "beacon": beacon,
        "confidence": found.confidence,
        "number": asdict(found.number),
        "money": asdict(found.money) if found.money is not None else None,
        "wrong": [{"receipt": digest, "why": why} for digest, why in found.wrong.items()],
        "words": [how, *found.words()],
    }


def _show(found: Sample, how: str) -> None:
    for sentence in (how, *found.words()):
        typer.echo(sentence)
    for digest, why in found.wrong.items():
        typer.echo(f"Wrong: receipt {digest}: {why}")
