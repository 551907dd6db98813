"""A tiny adapter, fine-tuned on a tiny model by the real Factory code, and published as a revision: for tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from openledger import manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.index import ContributionIndex, root

OWNER = "0x" + "0d" * 20
CONTRIBUTORS = tuple(f"0x{number:040x}" for number in range(0xA1, 0xA6))
WORDS = ("ataxia", "myopia", "of", "the", "an", "abnormal", "muscle", "eye", "gait", "reduced", "strength", "lens")


@dataclass(frozen=True)
class TinyAdapter:
    """A published revision: its resource name, its manifest, and a question it was trained on."""

    name: str
    lineage: manifest.LineageManifest
    prompt: tuple[int, ...]
    completion: tuple[int, ...]


def train_and_publish(store: ArtifactStore, base: Path, work: Path, *, seed: int = 0) -> TinyAdapter:
    """Train for two seconds, put the files and the manifest into the store."""
    from services.factory.data import Example
    from services.factory.spec import FineTuneSpec
    from services.factory.train import train

    draw = random.Random(seed)
    examples = [
        Example(f"records/{c}-{i}", address, _tokens(draw, 3), (*_tokens(draw, 5), 2))
        for c, address in enumerate(CONTRIBUTORS)
        for i in range(4)
    ]
    spec = FineTuneSpec(base=str(base), rank=2, alpha=4, layers=2, epochs=3, batch_size=5, held_out=0.0, seed=seed)
    result = train(spec, examples, base, work)
    lineage = publish(store, base, work, result.contributors)
    return TinyAdapter(lineage.revision, lineage, examples[0].prompt, examples[0].completion)


def publish(
    store: ArtifactStore, base: Path, folder: Path, contributors: dict[str, int], **changes: str
) -> manifest.LineageManifest:
    """Put an adapter's files and manifest into the store; `changes` replace fields of the manifest."""
    index = ContributionIndex.open(folder / "contribution_index.safetensors")
    fields = {
        "adapter": "tiny",
        "owner": OWNER,
        "index_root": root(index).hex(),
        "code": "openledger tests",
        "base_sha256": file_sha256(base / "model.safetensors"),
    } | changes
    lineage = manifest.LineageManifest(
        adapter=fields["adapter"],
        base=manifest.Base("tiny", fields["base_sha256"]),
        files={name: store.put_file(folder / name) for name in manifest.FILES},
        index_root=fields["index_root"],
        snapshots=(manifest.Snapshot("datanets/tiny/snapshots/1", "ab" * 32),),
        spec={},
        contributors=contributors,
        owner=fields["owner"],
        metrics={},
        code=fields["code"],
    )
    assert store.put(lineage.to_bytes()) == lineage.digest
    return lineage


def _tokens(draw: random.Random, words: int) -> tuple[int, ...]:
    """Some words as the tiny model's tokens: one a byte, after the three special ones."""
    text = " ".join(draw.choice(WORDS) for _ in range(words))
    return tuple(3 + ord(letter) for letter in text)
