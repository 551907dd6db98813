"""What a published revision says that its trainings gave, and which trainings those are.

The run itself follows the first part of the contributors; the others are its further parts (`parts`), and those without
somebody that an audit asked for.  What follows from documents alone is checked here; this module trains nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from safetensors.numpy import load

from openledger import manifest
from openledger.adapters import ADAPTER_FILES, read_manifest
from openledger.artifacts import ArtifactStore
from openledger.influence.index import ContributionIndex, Header, root
from openledger.manifest import LineageManifest
from services.factory import counterfactual_plan, parts
from services.factory.audit import FILE, HALVES_INDEX, LEFT_OUT_INDEX, Audit
from services.factory.replay import Replay
from services.factory.spec import FineTuneSpec
from services.factory.write import INDEX, TRAINING

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
        """Raises `NotTrained`, `ArtifactError`, and `ValueError` for documents that are none."""
        if lineage.source is not None:
            raise NotTrained("it was made elsewhere: nothing is published of how it was trained")
        if lineage.combines:
            parents = ", ".join(parent.revision for parent in lineage.combines)
            raise NotTrained(f"it is a combination, computed and not trained: train again what it combines ({parents})")
        if TRAINING not in lineage.files:
            raise NotTrained("it was made before training.json was kept, so nobody knows its batches any more")
        if not 1 <= lineage.metrics.get("threads", 1) <= _MOST_THREADS:
            raise NotTrained(f"its manifest says that it was trained with {lineage.metrics['threads']} threads")
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

    def contradictions(self) -> list[str]:
        """What its documents say that cannot be, without any training.  Raises as `index` does."""
        found = []
        counted = Counter(who for _, who in self.run.training if who)
        if dict(counted) != dict(self.lineage.contributors):
            found.append("training.json lists other records of contributors than the manifest counts")
        found += self._indexed()
        if self.audit is not None:
            found += self._audited(self.audit)
        elif self.spec.trained_again:
            found.append("its specification has trainings again, and there is no audit.json of them")
        return found

    def _audited(self, audit: Audit) -> Iterator[str]:
        if audit.contributors != tuple(self.people):
            yield "audit.json has other contributors than the manifest"
        elif audit.training != self.lineage.files[TRAINING] or audit.steps != self.run.steps:
            yield "audit.json is of another training than the manifest's"
        masks = counterfactual_plan.draw(len(self.people), self.spec.halves, self.spec.seed)
        if audit.halves != tuple("".join("01"[member] for member in mask) for mask in masks.tolist()):
            yield "the halves of audit.json are not those that the specification's seed draws"
        if audit.left_out != self.spec.leave_one_out:
            yield "audit.json does not leave out whom the specification says"

    def _indexed(self) -> Iterator[str]:
        """Rows that nobody trains for would be looked at by no comparison, and a receipt's scores are measured by."""
        index, audit = self.index(INDEX), self.audit
        layout, people = index.header.parameters, tuple(self.people)
        expected = {INDEX: Header(layout, people, self.spec.placebos)}
        if audit is not None and audit.left_out:
            expected[LEFT_OUT_INDEX] = Header(layout, people, 0)
        if audit is not None and audit.halves:
            expected[HALVES_INDEX] = Header(layout, (), len(audit.halves))
        for name, header in expected.items():
            there = self.index(name).header
            if there.contributors != header.contributors:
                yield f"{name} has other contributors than the manifest"
            elif there.placebos != header.placebos:
                yield f"{name} has {there.placebos} further rows, by specification and audit.json {header.placebos}"
            elif there.parameters != layout:
                yield f"{name} has another layout than {INDEX}"
        if self.shapes != {parameter.name: parameter.shape for parameter in layout}:
            yield f"{INDEX} has another layout than the adapter"
        if root(index).hex() != self.lineage.index_root:
            yield f"the manifest's index_root is not that of its {INDEX}"


def planned(training: bytes) -> str:
    """Hex SHA-256 of what a run's `training.json` says that was to be done: which records, and when."""
    document = json.loads(training)
    sizes = document.get("sizes") or list(map(len, document["batches"]))
    return digest_of(document["records"], document["held_out"], document["batches"], sizes)


def digest_of(records: list[list[str]], held_out: list[list[str]], batches: list[list[int]], sizes: list[int]) -> str:
    """The same of a plan that was made anew."""
    return sha256(json.dumps([records, held_out, batches, sizes]).encode()).hexdigest()


def parent(claims: Claims) -> tuple[str, tuple[str, ...]] | None:
    """Of a revision that replaces another one: that one's `training.json`, by SHA-256, and whom it leaves out.

    Raises `ArtifactError`, `ValueError` where that revision is not there.
    """
    replaces = claims.lineage.replaces
    if replaces is None:
        return None
    before: manifest.LineageManifest = read_manifest(claims.store, replaces.revision.rpartition("/")[2])
    return before.files[TRAINING], replaces.without
