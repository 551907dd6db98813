"""What a published revision says that its trainings gave, and which trainings those are.

The run itself follows the first part of the contributors; the others are its further parts (`parts`), and those without
somebody that an audit asked for.  What its documents say is believed here (`contradictions`); nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from safetensors.numpy import load

from openledger import canonical
from openledger.adapters import ADAPTER_FILES
from openledger.artifacts import ArtifactStore
from openledger.influence.index import ContributionIndex
from openledger.manifest import LineageManifest
from services.factory import parts
from services.factory.audit import FILE, Audit
from services.factory.replay import Replay
from services.factory.spec import FineTuneSpec
from services.factory.write import TRAINING

_MOST_THREADS = 1024


class NotTrained(ValueError):
    """The revision cannot be trained again by anybody; the message says why."""


@dataclass(frozen=True)
class Training:
    """One whose fruit is published.

    name: for people.  number: of the part, the contributor or the half, from 0.  digest: hex, no other one has it.
    """

    kind: str
    """part, left_out or half."""
    number: int
    name: str
    without: frozenset[str]
    digest: str


@dataclass(frozen=True)
class Claims:
    """Of one revision."""

    store: ArtifactStore
    lineage: LineageManifest
    spec: FineTuneSpec
    audit: Audit | None
    training: bytes
    """Of `training.json`."""

    @classmethod
    def of(cls, store: ArtifactStore, lineage: LineageManifest) -> Claims:
        """Raises `NotTrained`; and whatever reading raises for documents that are withheld, or none."""
        if lineage.source is not None:
            raise NotTrained("it was made elsewhere: nothing is published of how it was trained")
        if lineage.combines:
            parents = ", ".join(parent.revision for parent in lineage.combines)
            raise NotTrained(f"it is a combination, computed and not trained: train again what it combines ({parents})")
        if TRAINING not in lineage.files:
            if not lineage.licence:  # of the first version, which nobody signed
                raise NotTrained("it was made before training.json was kept, so nobody knows its batches any more")
            raise ValueError("its manifest names no training.json, without which nobody can train it again")
        threads = lineage.metrics.get("threads", 1)
        if type(threads) is not int or not 1 <= threads <= _MOST_THREADS:
            raise ValueError(f"its manifest says that it was trained with {threads} threads")
        training, judged = store.get(lineage.files[TRAINING]), lineage.files.get(FILE)
        Replay.of(training, ())
        audit = Audit.from_bytes(store.get(judged)) if judged else None
        return cls(store, lineage, FineTuneSpec.from_json(dict(lineage.spec)), audit, training)

    @cached_property
    def people(self) -> list[str]:
        """Contributors, in the order of an index's rows."""
        return sorted(self.lineage.contributors)

    @cached_property
    def run(self) -> Replay:
        """Of the run itself."""
        return Replay.of(self.training, ())

    @cached_property
    def weights(self) -> bytes:
        """Of the adapter's file.  Raises `ArtifactError`."""
        return self.store.get(self.lineage.files[ADAPTER_FILES[1]])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the adapter's tensors, by name.  Raises `SafetensorError` for a file that is none."""
        return {name: tensor.shape for name, tensor in load(self.weights).items()}

    @property
    def threads(self) -> int:
        """That the run was made with."""
        return int(self.lineage.metrics.get("threads", 1))

    def index(self, name: str) -> ContributionIndex:
        """A published one by its file's name.  Raises `ArtifactError`, `ContributionIndexError`, `KeyError`."""
        return ContributionIndex.open(self.store.path(self.lineage.files[name]))

    def trainings(self) -> Iterator[Training]:
        """All but the run itself, which is the first part."""
        for part in range(1, parts.count(self.spec, len(self.people))):
            yield self._named("part", part, f"part {part + 1} of the contribution index", frozenset())
        if self.audit is None:
            return
        if self.audit.left_out:
            for number, who in enumerate(self.people):
                yield self._named("left_out", number, f"the training without {who}", frozenset([who]))
        for number, mask in enumerate(self.audit.halves):
            absent = frozenset(who for who, member in zip(self.people, mask, strict=True) if member != "1")
            yield self._named("half", number, f"the training of half {number + 1}", absent)

    def _named(self, kind: str, number: int, name: str, without: frozenset[str]) -> Training:
        digest = sha256(f"{self.lineage.digest}/{kind}/{number}".encode()).hexdigest()
        return Training(kind, number, name, without, digest)


def planned(training: bytes) -> str:
    """Hex SHA-256 of what a run's `training.json` says that was to be done: which records, and when."""
    document = canonical.parse_json(training)
    sizes = document.get("sizes") or list(map(len, document["batches"]))
    return digest_of(document["records"], document["held_out"], document["batches"], sizes)


def digest_of(records: list[list[str]], held_out: list[list[str]], batches: list[list[int]], sizes: list[int]) -> str:
    """The same of a plan that was made anew."""
    return sha256(json.dumps([records, held_out, batches, sizes]).encode()).hexdigest()
