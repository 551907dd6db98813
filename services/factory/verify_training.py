"""Trains a published revision again from what is published and its records, and says what differs.

    python -m services.factory.verify_training        an `Order` as a line of JSON on stdin

Lines of JSON on stdout: `{"progress": ...}` as often as there is something new, then `{"result": ...}`, or `{"refused":
WHY}` where nothing can be said.  What is finished is found by whoever gives the same order again; a result clears all
away.  Talks to no service.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger import base_models
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactStore
from services.factory.claims import Claims
from services.factory.contradictions import contradictions
from services.factory.exported import ExportSource
from services.factory.lines import FOLDER
from services.factory.model import JobFailed
from services.factory.retrainings import Refused, Retrainings
from services.factory.verdict import Verdict
from services.kit.errors import Fault
from services.kit.executor import TaskFailed
from services.kit.executor_local import LocalExecutor

Tell = Callable[[dict[str, Any]], None]
CANNOT = (ValueError, KeyError, JobFailed, Fault, TaskFailed, Refused, OSError)
"""What is raised where this machine, or its folders, cannot do what is asked."""


@dataclass(frozen=True)
class Order:
    """revision: SHA-256 of its manifest.  artifacts, snapshots, work: folders, the last one of this order's own.

    draw: how many trainings besides the run itself.  seed: hex; drawn by chance, and kept, where there is none.
    base: the base model, as it is called here; where nothing is said, as the specification has it.
    """

    revision: str
    artifacts: str
    snapshots: list[str]
    work: str
    draw: int
    seed: str = ""
    confidence: int = 95
    base: str = ""


def main() -> None:
    """Command line."""

    def tell(said: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    order = Order(**json.loads(sys.stdin.readline()))
    try:
        verdict = asyncio.run(verify(order, lambda progress: tell({"progress": progress})))
        shutil.rmtree(order.work)  # texts are in there
    except CANNOT as error:
        tell({"refused": str(error)})
    else:
        tell({"result": verdict})


async def verify(order: Order, tell: Tell) -> dict[str, Any]:
    """The verdict, as JSON.  Raises `Refused`, and what reading and training raise, where there can be none."""
    work = Path(order.work)
    store = ArtifactStore(Path(order.artifacts))
    lineage = read_manifest(store, order.revision)
    source = ExportSource(map(Path, order.snapshots))
    seed = bytes.fromhex(order.seed) if order.seed else _chance(work)
    kept = ArtifactStore(work / "records")
    executor = LocalExecutor(work / "shards", environment={FOLDER: str(kept.root.absolute())})
    verdict = Verdict(lineage, seed, order.confidence)
    with verdict.reading("what its manifest names"):
        claims = Claims.of(store, lineage)
        verdict.documents += contradictions(claims)
    if not verdict.wrong:
        try:
            base = _base(order.base, claims.spec.base)
            await Retrainings(claims, source, kept, executor, tell, base).make(verdict, order.draw)
        except CANNOT as error:
            if not verdict.wrong:
                raise
            verdict.unknown.append(f"Not everything was looked at: {error}.")
    return verdict.to_json()


def _base(here: str, there: str) -> str:
    """What the base model is called here.

    A name that stands in no registry is a folder of the provider's; one of that name here could be of its making, with
    the right weights and another tokenizer.
    """
    if not here and there not in base_models.registry():
        raise Refused(f"the base model is called {there!r} there, which is no known one: say which it is here (--base)")
    return here or there


def _chance(work: Path) -> bytes:
    """A seed that nobody could know, and the same for whoever goes on."""
    work.mkdir(parents=True, exist_ok=True)
    file, new = work / "seed", work / ".seed"
    if not file.exists():
        new.write_bytes(secrets.token_bytes(32))
        new.replace(file)
    return file.read_bytes()


if __name__ == "__main__":
    main()
