"""Published adapters of random weights, with random contribution vectors.

What a gradient and its products cost does not depend on the numbers in them, only on shapes: those of a fine-tune as
the Factory does it unasked.  Nothing here can tell a good score from a bad one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from openledger import base_models, manifest
from openledger.artifacts import ArtifactStore
from openledger.influence.adapter_config import ALL_LINEAR, AdapterConfig
from openledger.influence.decoder import Decoder
from openledger.influence.index import ContributionIndex, Header, joined, root
from openledger.influence.lora import Adapter

RANK, LAYERS, PLACEBOS = 8, 6, 2
ROWS = 100
"""Rows that are made; where there are more contributors, they take turns in the file."""
SMALL = 0.01
"""Size of the weights: the base model's words stay words."""


class Publisher:
    """Makes adapters of one shape on one base model, and puts them into a store."""

    def __init__(self, store: ArtifactStore, base: str) -> None:
        self.store, self._base = store, base
        decoder = Decoder.load(base_models.locate(base))
        layers = tuple(range(decoder.layers - min(LAYERS, decoder.layers), decoder.layers))
        config = AdapterConfig(base, RANK, 2 * RANK, ALL_LINEAR, layers)
        self._adapter = Adapter.initialise(config, decoder.model, torch.Generator().manual_seed(0))

    def publish(self, number: int, contributors: int) -> str:
        """The name of revision `number`, which that many people contributed to."""
        generator = torch.Generator().manual_seed(number)
        weights = {n: SMALL * torch.randn(t.shape, generator=generator) for n, t in self._adapter.tensors.items()}
        people = [f"0x{n:040x}" for n in range(1, contributors + 1)]
        # In the store's folder: a large index is not to fill a small /tmp.
        with tempfile.TemporaryDirectory(dir=self.store.root) as folder:
            config, weights_file, index = (Path(folder, name) for name in manifest.FILES)
            config.write_text(json.dumps(self._adapter.config.to_json()))
            save_file(weights, weights_file, metadata={"format": "pt"})
            with index.open("wb") as file:
                for piece in joined(list(self._parts(people, number))):
                    file.write(piece)
            lineage = manifest.LineageManifest(
                adapter=f"bench{number}",
                base=manifest.Base(self._base, base_models.sha256(self._base)),
                files={path.name: self.store.put_file(path) for path in (config, weights_file, index)},
                index_root=root(ContributionIndex.open(index)).hex(),
                snapshots=(manifest.Snapshot("datanets/bench/snapshots/1", "0" * 64),),
                spec={},
                contributors=dict.fromkeys(people, 1),
                owner="0x" + "0d" * 20,
                metrics={},
                code="openledger bench",
            )
        self.store.put(lineage.to_bytes())
        return lineage.revision

    def _parts(self, people: list[str], seed: int) -> Iterator[ContributionIndex]:
        rng, layout = np.random.default_rng(seed), self._adapter.parameters
        rows = min(ROWS, len(people)) + PLACEBOS
        vectors = rng.integers(-127, 128, (rows, sum(p.size for p in layout)), dtype=np.int8)
        exponents = rng.integers(-26, -20, (rows, len(layout)), dtype=np.int8)
        for start in range(0, len(people), ROWS):
            some, placebos = tuple(people[start : start + ROWS]), PLACEBOS if start == 0 else 0
            count = len(some) + placebos
            yield ContributionIndex(Header(layout, some, placebos), vectors[:count], exponents[:count])
