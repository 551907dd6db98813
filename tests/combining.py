"""Small published adapters to be combined, of random weights and random vectors, signed as a Factory does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import save

from openledger import canonical, combined, manifest
from openledger.artifacts import ArtifactStore
from openledger.influence import index
from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.combination import Parent
from openledger.influence.index import ContributionIndex
from openledger.manifest import Base, LineageManifest, Snapshot

KEY = "0x" + "44" * 32
PEOPLE = tuple(f"0x{number:040x}" for number in (1, 2, 3))
BASE = Base("tiny", "ab" * 32)
MAPS, LAYERS, WIDTH = ("q_proj", "v_proj"), (0, 1), 8
A = "base_model.model.model.layers.{}.self_attn.{}.lora_A.weight"
B = A.replace("lora_A", "lora_B")


def parent(name: str = "one", weight_bps: int = 5_000, *, rank: int = 2, seed: int = 0, **config: Any) -> Parent:
    """An adapter of random weights.  config: further fields of its configuration."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in LAYERS:
        for path in MAPS:
            tensors[A.format(layer, path)] = random.normal(size=(rank, WIDTH)).astype(np.float32)
            tensors[B.format(layer, path)] = random.normal(size=(WIDTH, rank)).astype(np.float32)
    settings = {"base": "tiny", "rank": rank, "alpha": 2 * rank, "target_modules": MAPS, "layers": LAYERS}
    return Parent(name, weight_bps, AdapterConfig(**(settings | config)), tensors)


def vectors(adapter: Parent, people: tuple[str, ...], placebos: int = 1, seed: int = 0) -> ContributionIndex:
    """A contribution index of random displacements."""
    random, size = np.random.default_rng(seed), sum(p.size for p in adapter.parameters)
    moved = {who: random.normal(size=size) / 100 for who in people}
    return index.build(adapter.parameters, moved, [random.normal(size=size) / 100 for _ in range(placebos)])


def publish(
    store: ArtifactStore, made: Parent, people: tuple[str, ...] = PEOPLE, *, left_out: bool = False, **changes: Any
) -> LineageManifest:
    """Put an adapter among the artifacts; its signed manifest.  changes: of its fields."""
    found = vectors(made, people, seed=len(made.name))
    files = {
        combined.CONFIG: store.put(canonical.dumps(made.config.to_json())),
        combined.WEIGHTS: store.put(save(dict(made.tensors), metadata={"format": "pt"})),
        combined.INDEX: store.put(found.to_bytes()),
    }
    if left_out:
        files[combined.INDEXES[1]] = store.put(vectors(made, people, 0, seed=99).to_bytes())
    fields: dict[str, Any] = {
        "adapter": made.name,
        "base": BASE,
        "files": files,
        "index_root": index.root(found).hex(),
        "snapshots": (Snapshot(f"datanets/{made.name}/snapshots/1", "cd" * 32),),
        "spec": {"rank": made.config.rank},
        "contributors": dict.fromkeys(people, 5),
        "owner": "0x" + "0c" * 20,
        "metrics": {},
        "code": "openledger tests",
        "licence": "CC-BY-4.0",
        "use": "commercial",
    }
    lineage = manifest.sign(LineageManifest(**(fields | changes)), KEY)
    store.put(lineage.to_bytes())
    return lineage


def deltas(parents: list[Parent], layer: int, path: str) -> Any:
    """What they add to a map together, each by itself in float64: [out, in]."""
    return sum(
        each.weight_bps / 10_000 * each.config.scaling
        * (each.tensors[B.format(layer, path)].astype(float) @ each.tensors[A.format(layer, path)].astype(float))
        for each in parents
    )  # fmt: skip


def lineage_of(
    store: ArtifactStore, derived: combined.Derived, combines: tuple[manifest.Combined, ...], **changes: Any
) -> LineageManifest:
    """The signed manifest of a combination whose files are put among the artifacts."""
    files = {
        combined.CONFIG: store.put(canonical.dumps(derived.config.to_json())),
        combined.WEIGHTS: store.put(save(dict(derived.tensors), metadata={"format": "pt"})),
    } | {name: store.put(found.to_bytes()) for name, found in derived.indexes.items()}
    lineage = LineageManifest(
        adapter="sum",
        base=BASE,
        files=files,
        index_root=index.root(derived.indexes[combined.INDEX]).hex(),
        snapshots=derived.snapshots,
        spec={},
        contributors=derived.contributors,
        owner="0x" + "0e" * 20,
        metrics={},
        code="openledger tests",
        licence="CC-BY-4.0",
        use="commercial",
        combines=tuple(sorted(combines)),
    )
    return manifest.sign(replace(lineage, **changes), KEY)
