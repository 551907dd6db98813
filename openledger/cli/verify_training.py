"""`openledger verify training`: trains a published model again on this machine, and says what differs.

Exit status 0 when nothing does, 1 when something does, 2 when there is nothing to check or this machine cannot, 3 when
nothing differs and not all could be told, as where records are not here that some of it would take.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger.cli.verify import base_folder, open_store
from openledger.cli.verify_sample import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from openledger.cli.rpc import Rpc

_MODEL = re.compile(r"(?:adapters/[a-z0-9-]+/revisions/|sha256:)?([0-9a-f]{64})\Z")
_HASH = re.compile(r"0x([0-9a-f]{64})\Z")
REGISTRY = "ModelRegistry"
_TRAINER = (sys.executable, "-m", "services.factory.verify_training")
_TELL_SECONDS = 10.0
"""Between two lines of progress of one training."""


def verify_training(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="adapters/<adapter>/revisions/<digest>")],
    artifacts: Annotated[Path, typer.Option(help="Folder of published artifacts.")],
    snapshots: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="What `openledger datanet export` wrote of a snapshot; once for each."),
    ] = None,
    draw: Annotated[
        int, typer.Option(min=0, max=10_000, help="How many trainings are made again besides the run itself.")
    ] = 4,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="32 bytes that draw.  Default: chance, or what --rpc says.")
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="JSON-RPC of the chain: draws by the block that has the model.  Chance is better.",
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="Address of the chain's ModelRegistry, as you know it; with --rpc.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model by name, or its folder.  Default: the known one that it names.")
    ] = None,
    confidence: Annotated[int, typer.Option(min=50, max=99, help="Of what is said of all, in per cent.")] = 95,
    work: Annotated[
        Path | None, typer.Option(help="Folder in which what is finished is kept until all is.  Default: the cache.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")] = False,
) -> None:
    """Train a model again, and drawn ones of its trainings without somebody; compare with what is published of them.

    It takes as long as training did, and the texts of the snapshots, which their owners export.  Stopped, the same
    command goes on.  On a machine like the one that trained, all must be the same bytes; on another one, nearly so.

    Example: openledger verify training adapters/herbs/revisions/8ea7... --artifacts artifacts --snapshots herbs-1
    """
    found = _MODEL.match(model)
    if found is None:
        raise typer.BadParameter("a model is adapters/<adapter>/revisions/<digest>", param_hint="MODEL")
    if (rpc is None) != (registry is None):
        raise typer.BadParameter("--rpc and --registry belong together: whose word counts, you say")
    if seed is not None and rpc is not None:
        raise typer.BadParameter("both --seed and --rpc would draw: say which")
    store, digest = open_store(str(artifacts)), found[1]
    if missing := [name for name in ("torch", "services", "pyarrow") if find_spec(name) is None]:
        raise typer.BadParameter(f"it needs {' and '.join(missing)}: pip install 'openledger[factory,parquet]'")
    order = {
        "revision": digest,
        "artifacts": str(store.root.absolute()),
        "snapshots": [str(folder.absolute()) for folder in snapshots or []],
        "work": str(_work(work, digest)),
        "draw": draw,
        "seed": (seed_of(seed) or _beacon(digest, rpc, registry)).hex(),
        "confidence": confidence,
        "base": "" if base is None else _found(base),
    }
    verdict = verdict_of(order, _teller())
    if as_json:
        sys.stdout.write(json.dumps(verdict, indent=2) + "\n")
    else:
        for sentence in [*verdict["words"], *(f"Differs: {words}" for words in verdict["wrong"])]:
            typer.echo(sentence)
    checked = verdict["checked"] or not verdict["ok"]
    raise typer.Exit(2 if not checked else 1 if not verdict["ok"] else 0 if verdict["whole"] else 3)


def _found(base: str) -> str:
    """A base model's name, or its folder's as a process in any folder finds it."""
    folder = base_folder(base)
    return str(folder.absolute()) if Path(base).is_dir() else base


def _work(folder: Path | None, digest: str) -> Path:
    """A place of its own, since it is removed in the end."""
    from openledger.cache import cache_folder

    return (folder or cache_folder("verify-training")).absolute() / digest


def _beacon(digest: str, rpc: str | None, registry: str | None) -> bytes:
    """Nothing where no chain is named."""
    from openledger import names
    from openledger.cli.rpc import Rpc, RpcError

    if rpc is None or registry is None:
        return b""
    try:
        return beacon(Rpc(rpc), names.address(registry), digest)
    except (RpcError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--rpc") from None


def beacon(rpc: Rpc, registry: str, digest: str) -> bytes:
    """The hash of the block in which a model was registered: whoever made the model did not know it yet.

    Raises `RpcError`, and `ValueError` where it is not registered.
    """
    from openledger.cli.chain_logs import logs
    from openledger.cli.rpc import RpcError

    told = logs(rpc, registry, REGISTRY, ["RevisionRegistered"], "0x" + digest)
    if not told:
        raise ValueError(f"the registry {registry} does not know {digest}: draw by chance, or give a seed")
    block_hash = _HASH.match(str(told[0].block_hash))
    if block_hash is None:
        raise RpcError(f"{rpc.url} does not say in which block {digest} was registered")
    return bytes.fromhex(block_hash[1])


def verdict_of(order: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What the trainer found; it says meanwhile how far it is."""
    from openledger.cli.child import converse

    with tempfile.NamedTemporaryFile(prefix="openledger-verify-training-", suffix=".log") as log:
        for said in converse(_TRAINER, order, Path(log.name)):
            if "progress" in said:
                tell(said["progress"])
            elif "result" in said:
                verdict: dict[str, Any] = said["result"]
                return verdict
            elif "refused" in said:
                typer.echo(f"{said['refused']}. This says nothing about the model.", err=True)
                raise typer.Exit(2)
        last = Path(log.name).read_text(errors="replace").strip().splitlines()[-1:]
        typer.echo(f"The trainer ended before it was done: {''.join(last)}. The same command goes on.", err=True)
        raise typer.Exit(2)


def _teller() -> Callable[[dict[str, Any]], None]:
    """Says how far it is: a line for each training, and one now and then."""
    last: list[Any] = [None, 0.0]

    def tell(said: dict[str, Any]) -> None:
        doing, now = said["doing"], time.monotonic()
        if doing == last[0] and now - last[1] < _TELL_SECONDS:
            return
        last[:] = [doing, now]
        where = f"{said['training']} of {said['of']}: " if said["training"] else ""
        left = said["seconds_left"]
        rest = "" if left is None else f", about {max(1, round(left / 60))} min left"
        typer.echo(f"{where}{doing}, {said['share']:.0%}{rest}", err=True)

    return tell
