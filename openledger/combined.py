"""Published revisions that another one is the weighted sum of: read, each byte checked, and what follows from them.

What a combination must be follows from its parents alone: `derive` is what the Factory publishes, and what `check`
holds a published one against.  Knows neither who may combine what, nor licences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from openledger import answer_audit, names
from openledger.adapters import ADAPTER_FILES, read_manifest
from openledger.artifacts import ArtifactStore
from openledger.canonical import parse_json
from openledger.influence import combination
from openledger.influence.adapter_config import MAX_RANK, AdapterConfig
from openledger.influence.combination import CombinationError, Float32, Parent
from openledger.influence.index import ContributionIndex, root
from openledger.manifest import IMPORTED, Combined, LineageManifest, Snapshot
from openledger.manifest_rules import WEIGHT_ONE

CONFIG, WEIGHTS = ADAPTER_FILES
INDEX = "contribution_index.safetensors"
INDEXES = (INDEX, answer_audit.INDEX)
"""Files that are combined where every parent has them; the second one is what answers are audited by."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A parent: what its manifest says, and its files."""

    lineage: LineageManifest
    parent: Parent
    indexes: Mapping[str, ContributionIndex]


@dataclass(frozen=True, eq=False)
class Derived:
    """What a combination is, but for its name, its owner and its terms."""

    config: AdapterConfig
    tensors: Mapping[str, Float32]
    indexes: Mapping[str, ContributionIndex]
    contributors: Mapping[str, int]
    snapshots: tuple[Snapshot, ...]


def open_parents(store: ArtifactStore, combines: Iterable[Combined]) -> list[Opened]:
    """The parents, in the manifest's order, checked against their own manifests.

    Raises `ArtifactError` (missing, damaged), `ValueError` (no manifest, no adapter), `CombinationError` for what is
    not combined, whatever its files are.
    """
    opened = [_open(store, each) for each in sorted(combines)]
    bases = {each.lineage.base.sha256 for each in opened}
    if len(bases) > 1:
        raise CombinationError("they are of different base models: only changes of the same weights add up")
    return opened


def derive(opened: Sequence[Opened], max_rank: int = MAX_RANK) -> Derived:
    """What their sum is.  Raises `CombinationError`."""
    parents = [each.parent for each in opened]
    config = combination.config(parents, max_rank)
    indexes = {}
    for name in INDEXES:
        found = [each.indexes[name] for each in opened if name in each.indexes]
        if len(found) == len(opened):
            indexes[name] = combination.index(parents, found)
    return Derived(config, combination.weights(parents), indexes, *people([each.lineage for each in opened]))


def index_bytes(opened: Sequence[Opened]) -> int:
    """About how large the indexes of their sum are: every row is as long as the parents' together."""
    headers = [index.header for each in opened for index in each.indexes.values()]
    return sum(header.rows for header in headers) * sum(sum(each.indexes[INDEX].header.sizes) for each in opened)


def people(lineages: Iterable[LineageManifest]) -> tuple[dict[str, int], tuple[Snapshot, ...]]:
    """Contributors with the records of all parents, one that is in two of them counted twice; and all snapshots."""
    records, snapshots = Counter[str](), set[Snapshot]()
    for lineage in lineages:
        records.update(lineage.contributors)
        snapshots.update(lineage.snapshots)
    return dict(sorted(records.items())), tuple(sorted(snapshots, key=lambda pin: (pin.name, pin.root)))


def check(store: ArtifactStore, lineage: LineageManifest, folder: Path, files: Mapping[str, Path]) -> str:
    """That a combination is what its parents make of it, in words.

    folder: its PEFT files; files: its indexes.  Raises `CombinationError` for the first thing that is not, and what
    `open_parents` raises.
    """
    opened = open_parents(store, lineage.combines)
    derived = derive(opened)
    if opened[0].lineage.base.sha256 != lineage.base.sha256:
        raise CombinationError("it is of another base model than its parents")
    _same(derived.config, AdapterConfig.from_json(parse_json((folder / CONFIG).read_bytes())), CONFIG)
    _same_tensors(derived.tensors, _tensors((folder / WEIGHTS).read_bytes()))
    _same(derived.indexes.keys(), files.keys(), "which indexes there are")
    for name, index in derived.indexes.items():
        _same(root(index), root(ContributionIndex.open(files[name])), f"the root of {name}")
    _same(dict(derived.contributors), dict(lineage.contributors), "contributors")
    _same(derived.snapshots, lineage.snapshots, "snapshots")
    said = ", ".join(f"{each.weight_bps / WEIGHT_ONE:g} of {each.revision}" for each in lineage.combines)
    signers = " and ".join(sorted({each.lineage.signer for each in opened}))
    return f"weights and contribution vectors, computed again, are the sum of {said} (signed by {signers})"


def _open(store: ArtifactStore, combined: Combined) -> Opened:
    adapter, digest = names.match("adapters/*/revisions/*", combined.revision)
    lineage = read_manifest(store, digest)
    if lineage.adapter != adapter:
        raise CombinationError(f"{combined.revision} does not exist: that is one of adapters/{lineage.adapter}")
    _check_kind(lineage)
    config = AdapterConfig.from_json(parse_json(store.get(lineage.files[CONFIG])))
    parent = Parent(combined.revision, combined.weight_bps, config, _tensors(store.get(lineage.files[WEIGHTS])))
    indexes = {
        name: ContributionIndex.open(store.path(lineage.files[name])) for name in INDEXES if name in lineage.files
    }
    if root(indexes[INDEX]).hex() != lineage.index_root:
        raise CombinationError(f"the index of {combined.revision} has another root than its manifest says")
    return Opened(lineage, parent, indexes)


def _check_kind(lineage: LineageManifest) -> None:
    if lineage.source is not None:
        raise CombinationError(
            f"{lineage.revision} was {IMPORTED}: whose records it was trained on is not known, and what they do for an "
            "answer would be paid to the contributors of the others"
        )
    if lineage.combines:
        said = ", ".join(each.revision for each in lineage.combines)
        raise CombinationError(
            f"{lineage.revision} is a combination itself: combine what it was made of ({said}), with weights multiplied"
        )
    if not lineage.licence:
        raise CombinationError(f"{lineage.revision} is of before manifests had licences: its terms are not known")


def _tensors(data: bytes) -> dict[str, Float32]:
    try:
        return load(data)
    except (SafetensorError, TypeError, KeyError) as error:  # numpy knows no bfloat16
        raise CombinationError(f"{WEIGHTS} is no file of float32 weights: {error}") from error


def _same(derived: object, found: object, what: str) -> None:
    if derived != found:
        raise CombinationError(f"{what} is not what follows from the revisions that are combined")


def _same_tensors(derived: Mapping[str, Float32], found: Mapping[str, Float32]) -> None:
    _same(derived.keys(), found.keys(), f"which tensors {WEIGHTS} has")
    for name, tensor in derived.items():
        if found[name].dtype != tensor.dtype or not np.array_equal(found[name], tensor):
            raise CombinationError(f"{name} is not the sum of the revisions that are combined")
