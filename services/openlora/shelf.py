"""Adapters on this machine's disk: found among the published artifacts, unpacked for the engine, gone again for others.

Every byte is checked whenever an adapter is taken from here: what was changed after it was published, in the artifacts
or in the unpacked copy, reaches no engine.  The folder can be removed at any time; it is made again.  Does not know
engines, nor who asks.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from openledger import names
from openledger.adapters import ADAPTER_FILES, materialise, read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.manifest import LineageManifest
from services.kit.errors import Fault, invalid, not_found, precondition
from services.openlora.residency import Residency

_BYTES_A_SECOND = 100e6
"""What a copy that was made by an earlier process is taken to have cost."""


@dataclass(frozen=True)
class About:
    """What is told of a revision: whose it is (lower-case addresses), and the bytes of its files."""

    owner: str
    signer: str
    imported: bool
    size: int


class Shelf:
    """Adapters of one base model.

    Args:
        signers: whose word counts on what an adapter was trained on, lower-case addresses; empty: anybody's.
        capacity: of the folder, in bytes.  What is in use stays, even where that makes it more.
    """

    def __init__(
        self, artifacts: ArtifactStore, folder: Path, base_sha256: str, capacity: int, signers: Collection[str] = ()
    ) -> None:
        self._artifacts, self._folder, self._base_sha256 = artifacts, folder, base_sha256
        self._signers = frozenset(signers)
        self._disk = Residency(capacity)
        self._making_room = asyncio.Lock()

    def __contains__(self, digest: str) -> bool:
        return digest in self._disk and (self._folder / digest).is_dir()

    def open(self) -> None:
        """Take over what an earlier process left, and remove what it left half done."""
        for left in self._folder.glob(".new-*"):
            left.unlink(missing_ok=True)
        folders = [path for path in self._folder.glob("[0-9a-f]*") if len(path.name) == 64 and path.is_dir()]
        for path in sorted(folders, key=lambda path: path.stat().st_mtime):
            size = max(1, sum(file.stat().st_size for file in path.iterdir()))
            self._disk.add(path.name, size, size / _BYTES_A_SECOND)

    def find(self, model: str) -> LineageManifest:
        """The manifest of a revision that can be served here.

        Raises `Fault`: UNKNOWN_MODEL, UNKNOWN_ADAPTER, WRONG_BASE or UNTRUSTED_SIGNER.
        """
        try:
            adapter, digest = names.match("adapters/*/revisions/*", model)
        except ValueError:
            text = f"{model[:120]!r} is no model: take 'base' or adapters/{{adapter}}/revisions/{{digest}}"
            raise invalid("UNKNOWN_MODEL", text, "model") from None
        try:
            lineage = read_manifest(self._artifacts, digest)
        except ArtifactError as error:
            raise _unknown(model, str(error)) from None
        except ValueError as error:
            raise _unknown(model, f"what is published under that digest is no adapter: {error}") from None
        if lineage.adapter != adapter:
            raise _unknown(model, f"that revision is one of adapters/{lineage.adapter}")
        return lineage

    def check(self, lineage: LineageManifest) -> None:
        """Raises `Fault` WRONG_BASE or UNTRUSTED_SIGNER for what is not served here, whatever its files are."""
        model = lineage.revision
        if lineage.base.sha256 != self._base_sha256:
            raise precondition(
                "WRONG_BASE",
                f"{model} was trained on {lineage.base.name}, whose weights are not those that are served here",
                model=model,
                base=lineage.base.name,
            )
        # What was made elsewhere names nobody but its owner, whose signature it has: there is nothing to vouch for.
        if self._signers and lineage.source is None and lineage.signer not in self._signers:
            raise precondition(
                "UNTRUSTED_SIGNER",
                f"{model} is signed by {lineage.signer or 'nobody'}, whose word on what adapters were trained on does "
                "not count here: OPENLEDGER_OPENLORA_SIGNERS says whose does",
                model=model,
                signer=lineage.signer,
            )

    async def fetch(self, lineage: LineageManifest, spared: Callable[[], Collection[str]]) -> Path:
        """The folder with an adapter's files, checked.  spared: digests that must stay.  Raises `ArtifactError`."""
        digest = lineage.digest
        size = max(1, await asyncio.to_thread(self._size, lineage))
        if size > self._disk.capacity:
            raise ArtifactError(f"it has {size} bytes, more than all adapters may have ({self._disk.capacity})")
        async with self._making_room:
            if digest not in self._disk:
                while (gone := self._disk.victim(size, frozenset(spared()).__contains__)) is not None:
                    self._disk.remove(gone)
                    await asyncio.to_thread(shutil.rmtree, self._folder / gone, ignore_errors=True)
                self._disk.add(digest, size, 0.0)
        there, began = (self._folder / digest).is_dir(), time.monotonic()
        try:
            path = await asyncio.to_thread(materialise, self._artifacts, digest, self._folder)
        except Exception:
            self._disk.remove(digest)
            await asyncio.to_thread(shutil.rmtree, self._folder / digest, ignore_errors=True)
            raise
        if there:
            self._disk.use(digest)
        else:
            self._disk.add(digest, size, time.monotonic() - began)
        return path

    def about(self, lineage: LineageManifest) -> About:
        """What is told of a revision; 0 bytes where its files are not all there."""
        try:
            size = self._size(lineage)
        except ArtifactError:
            size = 0
        return About(lineage.owner, lineage.signer, lineage.source is not None, size)

    def _size(self, lineage: LineageManifest) -> int:
        """Bytes of the files that are unpacked.  Raises `ArtifactError` where they are not all there."""
        return sum(self._artifacts.size(lineage.files[name]) for name in ADAPTER_FILES)


def _unknown(model: str, why: str) -> Fault:
    return not_found("UNKNOWN_ADAPTER", f"there is no {model} here: {why}", model=model)
