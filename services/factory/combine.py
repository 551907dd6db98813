"""Make the weighted sum of published revisions a revision of its own: from whose, under which terms, in which files.

The sum itself, and the contribution index that follows from the parents', are `openledger.combined`'s.  A parent must
be offered: what is not published is as if it were not there, and of what is flagged or deprecated nothing new is made.
It is published as what was trained is: announced, then its files, and last its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from safetensors.numpy import save_file
from sqlalchemy import Connection

from openledger import canonical, combined, manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.combined import Derived, Opened
from openledger.influence import index as indexing
from openledger.influence.combination import CombinationError
from openledger.manifest import Combined, LineageManifest, ManifestError
from services.factory import licence, provenance, store, store_revisions
from services.factory.licence import LicenceRefused, Outcome, Source, Use
from services.factory.licence_terms import Terms
from services.factory.model import Revision
from services.factory.publish import adapter_taken, card_of
from services.factory.run import MAX_SNAPSHOTS
from services.kit.errors import Fault, not_found, precondition


@dataclass(frozen=True)
class Asked:
    """What somebody wants combined.  owner: lower-case address."""

    owner: str
    adapter: str
    use: Use
    combines: tuple[Combined, ...]


@dataclass(frozen=True)
class Made:
    """A combination that is not public yet: its manifest, and its files by name."""

    lineage: LineageManifest
    files: Mapping[str, Path]

    @property
    def revision(self) -> Revision:
        """As it is announced."""
        lineage = self.lineage
        return Revision(lineage.revision, lineage.adapter, None, lineage.to_bytes(), None, datetime.now(UTC))


@dataclass(frozen=True)
class Combiner:
    """Computes combinations, and publishes them.

    folder: for what is not public yet; licences: the operator's; key: signs lineage manifests.
    """

    artifacts: ArtifactStore
    folder: Path
    licences: Mapping[str, Terms]
    key: str
    max_rank: int
    max_bytes: int
    """Of its indexes."""

    def open(self) -> None:
        """Remove what an earlier process had half done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def make(self, asked: Asked, folder: Path) -> Made:
        """Compute one into an empty folder: seconds.  Raises `Fault`: CANNOT_COMBINE, LICENCE_..."""
        try:
            opened = combined.open_parents(self.artifacts, asked.combines)
            self._check_size(opened)
            outcome = _terms([each.lineage for each in opened], asked.use, self.licences)
            derived = combined.derive(opened, self.max_rank)
            if len(derived.snapshots) > MAX_SNAPSHOTS:
                raise CombinationError(
                    f"they were tuned on {len(derived.snapshots)} snapshots, and at most {MAX_SNAPSHOTS} can be "
                    "registered as a revision's"
                )
            files = _write(derived, folder)
            return Made(self._signed(asked, opened[0].lineage, derived, outcome, files), files)
        except ManifestError as error:
            raise _cannot(f"what came of it cannot be published: {error}") from error
        except ValueError as error:  # of combinations, and of artifacts, manifests and adapters that are not whole
            raise _cannot(str(error)) from error

    def publish(self, made: Made) -> Revision:
        """Put its files among the artifacts, its manifest last; returns the revision that may now be named."""
        for file in made.files.values():
            self.artifacts.put_file(file)
        self.artifacts.put(made.lineage.to_bytes())
        card = self.artifacts.put(card_of(made.lineage, self.artifacts).encode())
        return replace(made.revision, card=card)

    def _check_size(self, opened: Sequence[Opened]) -> None:
        size = combined.index_bytes(opened)
        if size > self.max_bytes:
            raise _cannot(
                f"its contribution indexes would have {size} bytes, and may have {self.max_bytes} here "
                "(COMBINED_INDEX_BYTES): combine fewer, or with smaller ranks"
            )

    def _signed(
        self, asked: Asked, first: LineageManifest, derived: Derived, outcome: Outcome, files: Mapping[str, Path]
    ) -> LineageManifest:
        unsigned = LineageManifest(
            adapter=asked.adapter,
            base=first.base,
            files={name: file_sha256(file) for name, file in files.items()},
            index_root=indexing.root(derived.indexes[combined.INDEX]).hex(),
            snapshots=derived.snapshots,
            spec={},
            contributors=derived.contributors,
            owner=asked.owner,
            metrics={},
            code=provenance.code(),
            licence=outcome.licence,
            attributions=tuple(manifest.Attribution(**vars(due)) for due in outcome.attributions),
            use=str(asked.use),
            combines=tuple(sorted(asked.combines)),
        )
        return manifest.sign(unsigned, self.key)


def check_parents(c: Connection, asked: Asked) -> None:
    """Raises `Fault` unless every parent is offered: REVISION_NOT_FOUND, RECORD_ERASED, CANNOT_COMBINE."""
    for parent in asked.combines:
        found = store_revisions.find_revision(c, parent.revision)
        if found is None:
            raise not_found("REVISION_NOT_FOUND", f"there is no published {parent.revision}")
        if found.flags:
            raise precondition(
                "RECORD_ERASED",
                f"{found.name} was made from {found.flags[0].record}, which is erased: nothing new is made from it",
                record=found.flags[0].record,
            )
        if found.deprecate_time is not None:
            instead = f"; {found.replaced_by} is to be used in its stead" if found.replaced_by else ""
            raise _cannot(f"{found.name} is deprecated by its owner ({found.deprecate_reason}){instead}")


def announce(c: Connection, asked: Asked, revision: Revision) -> None:
    """Say that its files are about to become public: from now on what befalls a parent befalls it.

    Raises `Fault`: those of `check_parents`, ADAPTER_TAKEN.
    """
    check_parents(c, asked)
    _claim(c, asked)
    store_revisions.announce_revision(c, revision)
    store_revisions.put_parents(c, revision.name, [parent.revision for parent in asked.combines])


def name_it(c: Connection, asked: Asked, revision: Revision) -> Revision:
    """Give one that was announced, and whose files are public, its name.  Raises `Fault` ADAPTER_TAKEN."""
    _claim(c, asked)
    return store_revisions.add_revision(c, revision)


def _claim(c: Connection, asked: Asked) -> None:
    if store.claim_adapter(c, asked.adapter, asked.owner) != asked.owner:
        raise adapter_taken(asked.adapter)


def _terms(lineages: Sequence[LineageManifest], use: Use, own: Mapping[str, Terms]) -> Outcome:
    """The licence of what is made of all of these, and who is due to be named.  Raises `Fault`."""
    narrow = [lineage.revision for lineage in lineages if lineage.use != use]
    if narrow and use is Use.COMMERCIAL:
        raise precondition("LICENCE_NON_COMMERCIAL", f"{narrow[0]} was made for non-commercial use alone")
    try:
        outcome = licence.combine([Source(each.revision, each.licence) for each in lineages], use, own)
    except LicenceRefused as refusal:
        raise precondition(refusal.reason, str(refusal)) from refusal
    inherited = [licence.Attribution(**vars(due)) for each in lineages for due in each.attributions]
    return Outcome(outcome.licence, tuple(dict.fromkeys((*outcome.attributions, *inherited))))


def _write(derived: Derived, folder: Path) -> dict[str, Path]:
    """The files of a combination.  The same combination gives the same bytes."""
    names = (combined.CONFIG, combined.WEIGHTS, *derived.indexes)
    files = {name: folder / name for name in names}
    files[combined.CONFIG].write_bytes(canonical.dumps(derived.config.to_json()))
    save_file(dict(derived.tensors), files[combined.WEIGHTS], metadata={"format": "pt"})
    for name, index in derived.indexes.items():
        with files[name].open("wb") as file:
            file.writelines(indexing.joined([index]))
    return files


def _cannot(why: str) -> Fault:
    return precondition("CANNOT_COMBINE", f"they cannot be combined: {why}")
