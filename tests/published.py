"""A really trained, really published adapter of a tiny model, in seconds: what a Factory would have left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openledger import __version__, base_models, manifest
from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from services.factory import data
from services.factory.spec import FineTuneSpec
from services.factory.train import train

OWNER = "0x" + "0d" * 20
CONTRIBUTORS = tuple(f"0x{n:02x}" + "c0" * 19 for n in range(1, 5))


def prompt(who: int, n: int) -> str:
    """What the record r{who}-{n} asks."""
    return f"{who} times {n}?"


def completion(who: int, n: int) -> str:
    """What the record r{who}-{n} teaches."""
    return f"It is {who * n}, says {who}."


@dataclass(frozen=True)
class Published:
    """The revision, and what it was made of."""

    revision: str
    base: Path
    base_sha256: str
    contributors: tuple[str, ...]
    folder: Path
    """Of the trained files."""


def publish(store: ArtifactStore, base: Path, folder: Path, *, seed: int = 0, dora: bool = False) -> Published:
    """Train four contributors' records on the tiny base, and put the artifacts into the store."""
    spec = FineTuneSpec(
        base=str(base),
        layers=2,
        rank=4,
        alpha=8,
        dora=dora,
        epochs=2,
        batch_size=8,
        seed=seed,
        held_out=0.0,
        max_length=96,
    )
    records = [
        data.Record(f"r{who}-{n}", address, {"prompt": prompt(who, n), "completion": completion(who, n)})
        for who, address in enumerate(CONTRIBUTORS, start=1)
        for n in range(6)
    ]
    examples = data.tokenise(records, spec, data.load_tokenizer(base)).examples
    result = train(spec, examples, base, folder)
    lineage = manifest.LineageManifest(
        adapter="tiny",
        base=manifest.Base(str(base), base_models.sha256(str(base))),
        files={name: store.put_file(result.folder / name) for name in manifest.FILES},
        index_root=result.index_root,
        snapshots=(manifest.Snapshot("datanets/tiny/snapshots/1", "0" * 64),),
        spec=spec.to_json(),
        contributors=result.contributors,
        owner=OWNER,
        metrics=result.metrics,
        code=f"openledger {__version__}",
    )
    store.put(lineage.to_bytes())
    return Published(lineage.revision, base, lineage.base.sha256, CONTRIBUTORS, folder)


def published_receipts(store: ArtifactStore) -> dict[str, list[str]]:
    """SHA-256 of the receipts among the artifacts, by the answer that they are of."""
    found: dict[str, list[str]] = {}
    for file in sorted((store.root / "sha256").glob("*/*")):
        data = file.read_bytes()
        if data.startswith(b'{"developer":'):
            found.setdefault(receipts.parse(data).response, []).append(file.name)
    return found
