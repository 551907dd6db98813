"""A revision whose documents agree with each other, made up without any training: what is checked before one is."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from openledger import canonical, manifest
from openledger.artifacts import ArtifactStore
from openledger.influence import index
from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.parameters import Parameter
from services.factory import counterfactual_plan, provenance
from services.factory.audit import Audit, Rise
from services.factory.claims import Claims
from services.factory.spec import FineTuneSpec

PEOPLE = tuple(f"0x{number:040x}" for number in range(4))
LAYOUT = (Parameter("a", (2, 3)), Parameter("b", (250,)))
SIZE = sum(parameter.size for parameter in LAYOUT)
SNAPSHOT = manifest.Snapshot("datanets/words/snapshots/1", "77" * 32)
SPEC = FineTuneSpec(
    base="tiny", layers=2, batch_size=2, epochs=2, held_out=0.2, halves=4, leave_one_out=True, evaluations=3
)
START, WAY = (np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32) for seed in (0, 1))
THETA = START + WAY
ROWS = np.random.default_rng(2).standard_normal((len(PEOPLE) + SPEC.placebos, SIZE)).astype(np.float32)
LEFT_OUT = np.random.default_rng(3).standard_normal((len(PEOPLE), SIZE)).astype(np.float32) / 10
LOSSES = np.array([1.0, 2.0, 3.0])


def canonical_json(document: Any) -> bytes:
    return canonical.dumps(document)


def weights(theta: np.ndarray = THETA, metadata: dict[str, str] | None = None) -> bytes:
    """An adapter's file."""
    parts = np.split(theta, np.cumsum([parameter.size for parameter in LAYOUT])[:-1])
    tensors = {p.name: part.reshape(p.shape) for p, part in zip(LAYOUT, parts, strict=True)}
    return save(tensors, metadata=metadata or {"format": "pt"})


def an_index(
    rows: np.ndarray = ROWS, people: tuple[str, ...] = PEOPLE, layout: tuple[Parameter, ...] = LAYOUT
) -> bytes:
    """Rows of people first, then placebos."""
    return index.quantised(index.Header(layout, people, len(rows) - len(people)), iter(rows)).to_bytes()


def training(**changes: Any) -> dict[str, Any]:
    """Two records a person; of each but two people one more that is held out."""
    records = [[f"records/{who}-{n}", PEOPLE[who]] for who in range(len(PEOPLE)) for n in range(2)]
    held_out = [[f"records/{who}-2", PEOPLE[who]] for who in range(2)]
    batches = [[0, 1], [2, 3], [4, 5], [6, 7]] * 2
    return {
        "version": "openledger.training.v1",
        "records": records,
        "held_out": held_out,
        "batches": batches,
        "losses": [1.0] * len(batches),
        "kept_step": len(batches),
        "evaluations": [[3, 2.5], [5, 2.2]],
    } | changes


def halves() -> tuple[str, ...]:
    masks = counterfactual_plan.draw(len(PEOPLE), SPEC.halves, SPEC.seed)
    return tuple("".join("01"[member] for member in mask) for mask in masks.tolist())


@dataclass
class Revision:
    """A store, and what was put in; `files` by name, as bytes."""

    store: ArtifactStore
    spec: FineTuneSpec = SPEC
    files: dict[str, bytes] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Other fields of the manifest."""

    @property
    def lineage(self) -> manifest.LineageManifest:
        root = "0" * 64
        with suppress(ValueError):
            found = index.ContributionIndex.from_bytes(self.files["contribution_index.safetensors"])
            root = index.root(found).hex()
        fields = {
            "adapter": "words",
            "base": manifest.Base(self.spec.base, "b" * 64),
            "files": {name: self.store.put(data) for name, data in self.files.items()},
            "index_root": root,
            "snapshots": (SNAPSHOT,),
            "spec": self.spec.to_json(),
            "contributors": dict.fromkeys(PEOPLE, 2),
            "owner": "0x" + "0d" * 20,
            "metrics": {"threads": 1, "steps": 8, "loss_after": 2.0},
            "code": provenance.code(),
            "licence": "CC0-1.0",
            "use": "commercial",
        }
        return manifest.sign(manifest.LineageManifest(**(fields | self.more)), "0x" + "5a" * 32)

    @property
    def claims(self) -> Claims:
        return Claims.of(self.store, self.lineage)

    def put(self) -> str:
        """Publish its manifest; returns its digest."""
        return self.store.put(self.lineage.to_bytes())

    def says(self, name: str, **changes: Any) -> None:
        """Another JSON file."""
        self.files[name] = canonical.dumps(json.loads(self.files[name]) | changes)

    def trains(self, **changes: Any) -> None:
        """Another training.json, with an audit that fits."""
        self.says("training.json", **changes)
        if "audit.json" in self.files:
            self.says("audit.json", training=canonical.sha256(self.files["training.json"]))


def revision(folder: Path, spec: FineTuneSpec = SPEC, **more: Any) -> Revision:
    """One whose documents agree."""
    config = AdapterConfig(spec.base, spec.rank, spec.alpha, spec.target_modules, (0, 1), spec.rslora, spec.dora)
    files = {
        "adapter_config.json": canonical.dumps(config.to_json()),
        "adapter_model.safetensors": weights(),
        "contribution_index.safetensors": an_index(),
        "metrics.json": b"{}",
        "training.json": canonical.dumps(training()),
    }
    if spec.trained_again:
        audit = Audit(
            words="a test",
            agreement=(),
            held_out=len(LOSSES),
            judged=len(LOSSES),
            repeat=0.0,
            contributors=PEOPLE,
            left_out=True,
            halves=halves(),
            fitted=2,
            asked_halves=spec.halves,
            ridge=1.0,
            seed=spec.seed,
            steps=8,
            training=canonical.sha256(files["training.json"]),
            rises=tuple(Rise(0.1, 0.01) for _ in PEOPLE),
        )
        files["audit.json"] = audit.to_bytes()
        files["leave_one_out_index.safetensors"] = an_index(LEFT_OUT)
        files["halves_index.safetensors"] = an_index(LEFT_OUT[: len(halves())], ())
    return Revision(ArtifactStore(folder), spec, files, more)


def output(folder: Path, **changes: Any) -> Path:
    """What a training again leaves, as `services.factory.again_task.again` names it; all the same as published."""
    made: dict[str, Any] = {"theta": THETA, "start": START, "losses": LOSSES.astype(np.float32), "rows": ROWS} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(made.get("weights", weights(made["theta"])))
    (folder / "adapter_config.json").write_bytes(
        made.get("config", revision(folder / "it").files["adapter_config.json"])
    )
    (folder / "contribution_index.safetensors").write_bytes(an_index(made["rows"], made.get("people", PEOPLE)))
    for name in ("model.safetensors", "retrained.safetensors"):
        (folder / name).write_bytes(save({key: made[key] for key in ("theta", "start", "losses")}))
    return folder
