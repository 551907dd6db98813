"""From a model's name to what it is measured with: the base model in memory, adapter revisions checked and open.

Every byte is checked against the name that it was asked for by.  An index's root is computed again and compared with
the manifest once, when the index is opened.  For one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from openledger import base_models, names
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore, file_sha256
from openledger.influence.index import ContributionIndex, ContributionIndexError, root
from openledger.manifest import LineageManifest
from openledger.trace import Trace
from services.attribution.score import Revision, Unattributable

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer

INDEX = "contribution_index.safetensors"


class Models:
    """The base model, and the adapter revisions used last."""

    def __init__(self, artifacts: ArtifactStore, base: str, adapters_dir: Path, *, threads: int, keep: int) -> None:
        self._artifacts, self._base, self._adapters_dir = artifacts, base, adapters_dir
        self._threads, self._keep = threads, keep
        self._scorer: Scorer | None = None
        self._base_sha256 = ""
        self._revisions: OrderedDict[str, Revision] = OrderedDict()

    def load(self) -> Scorer:
        """The scorer with the base model, loaded on first use: seconds, and the model's size in memory.

        Raises `BaseModelUnavailable` or `BaseModelError`.
        """
        if self._scorer is None:
            import torch
            from transformers.utils import logging

            from openledger.influence.gradient import Scorer

            logging.disable_progress_bar()  # it would draw into the log
            torch.set_num_threads(self._threads)
            folder = base_models.locate(self._base)
            found = file_sha256(folder / "model.safetensors")
            if found != base_models.sha256(self._base):
                raise base_models.BaseModelUnavailable(
                    f"{folder} is damaged: model.safetensors has SHA-256 {found}; delete the folder, it is made anew"
                )
            self._scorer, self._base_sha256 = Scorer(folder, max_adapters=self._keep), found
        return self._scorer

    def resolve(self, trace: Trace) -> tuple[Scorer, Revision | None]:
        """What the answer in a trace is measured with.  Raises `Unattributable`."""
        scorer = self.load()
        self._must_be_our_base(trace.base_sha256, "the answer was given by")
        if not trace.adapter:
            return scorer, None
        if trace.adapter not in self._revisions:
            self._revisions[trace.adapter] = self._open(trace.adapter)
            while len(self._revisions) > self._keep:
                self._revisions.popitem(last=False)
        self._revisions.move_to_end(trace.adapter)
        return scorer, self._revisions[trace.adapter]

    def _open(self, name: str) -> Revision:
        adapter, digest = names.match("adapters/*/revisions/*", name)
        try:
            if not self._artifacts.has(digest):
                raise Unattributable("UNKNOWN_MODEL", f"{name} was not published here: there is no such manifest")
            lineage = read_manifest(self._artifacts, digest)
            if lineage.adapter != adapter:
                raise Unattributable("UNKNOWN_MODEL", f"{name} does not exist: that revision is of {lineage.adapter}")
            self._must_be_our_base(lineage.base.sha256, f"{name} was tuned on")
            return Revision(lineage, materialise(self._artifacts, digest, self._adapters_dir), self._index(lineage))
        except (ArtifactError, ContributionIndexError) as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise  # a disk that fails now may be read later
            raise Unattributable("ARTIFACT_DAMAGED", f"{name} cannot be used: {error}") from error
        except ValueError as error:  # of names, and of manifests
            raise Unattributable("UNKNOWN_MODEL", f"{name} is no adapter revision: {error}") from error

    def _index(self, lineage: LineageManifest) -> ContributionIndex:
        index = ContributionIndex.open(self._artifacts.path(lineage.files[INDEX]))
        found = root(index).hex()
        if found != lineage.index_root:
            raise Unattributable(
                "INDEX_ROOT_MISMATCH",
                f"the index of {lineage.revision} has root {found}, its manifest says {lineage.index_root}",
            )
        if set(index.header.contributors) != lineage.contributors.keys():
            raise Unattributable(
                "ARTIFACT_DAMAGED", f"index and manifest of {lineage.revision} name different contributors"
            )
        return index

    def _must_be_our_base(self, sha256: str, whose: str) -> None:
        if sha256 != self._base_sha256:
            raise Unattributable(
                "OTHER_BASE",
                f"{whose} a base model with SHA-256 {sha256}; this service measures with {self._base_sha256}",
            )
