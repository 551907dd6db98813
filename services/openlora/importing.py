"""Adapters that are brought from elsewhere: taken in piece by piece, checked whole, published with their manifest last.

Nothing that was sent is read as anything before its digest is the one that its owner signed.  The same revision again
is nothing new.  Knows neither messages nor what the engine has in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from openledger import imported
from openledger.artifacts import ArtifactStore
from openledger.base_model_shape import BaseModelShape
from openledger.imported import BROUGHT, INDEX
from openledger.influence.adapter_config import AdapterError
from openledger.influence.index import ContributionIndexError, root
from openledger.manifest import LineageManifest, ManifestError, parse
from services.kit import call
from services.kit.database import Database
from services.kit.errors import aborted, denied, exhausted, invalid, precondition
from services.openlora import store_adapters
from services.openlora.engine import AdapterRejected
from services.openlora.engine_adapters import check_adapter
from services.openlora.shelf import Shelf


@dataclass(frozen=True)
class Limits:
    """How much is taken in, in bytes: of one adapter, of all of an account's, of everybody's, and under way at a time.

    `importers`: who may bring adapters, lower-case addresses; empty: every account.
    """

    one: int
    account: int
    everybody: int
    under_way: int
    importers: frozenset[str] = frozenset()


class Imports:
    """Takes in adapters for one base model.  `folder`: for what is not whole yet."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        shelf: Shelf,
        folder: Path,
        shape: BaseModelShape,
        limits: Limits,
        *,
        max_rank: int,
        dora: bool,
    ) -> None:
        self._database, self._artifacts, self._shelf, self._folder = database, artifacts, shelf, folder
        self._shape, self._limits, self._max_rank, self._dora = shape, limits, max_rank, dora
        # Of its own: who brings adapters must not keep those from their files who are answered.
        self._worker = ThreadPoolExecutor(1, "import")
        self._under_way = 0
        self._at_it: set[str] = set()
        """Accounts that bring something at this moment."""

    def open(self) -> None:
        """Remove what an earlier process was brought in part."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    async def take(self, data: bytes, pieces: AsyncIterator[tuple[str, bytes]]) -> LineageManifest:
        """An adapter: its manifest's bytes, then name and content of its files' pieces.  Raises `Fault`."""
        lineage = self._read(data)
        if await asyncio.to_thread(self._artifacts.has, lineage.digest):
            return lineage
        await self._database.read(lambda c: self._check_room(c, lineage, 1))
        if lineage.owner in self._at_it:
            raise aborted("IMPORT_IN_PROGRESS", "this account brings an adapter already; wait until it is here")
        self._at_it.add(lineage.owner)
        try:
            async with _Upload(self, lineage) as upload:
                async for name, piece in pieces:
                    await upload.add(name, piece)
                await self._finish(lineage, upload)
        finally:
            self._at_it.discard(lineage.owner)
        return lineage

    async def close(self) -> None:
        """Let what is being published come to its end."""
        await asyncio.to_thread(self._worker.shutdown)

    def hold(self, size: int) -> None:
        """Take room for bytes under way; a negative size gives it back.  Raises `Fault`."""
        if self._under_way + size > self._limits.under_way:
            raise exhausted(
                "IMPORTS_BUSY", "too much is being brought at this moment; send it again soon", retry_after=5
            )
        self._under_way += size

    @property
    def most(self) -> int:
        """Bytes that the files of one adapter may have."""
        return self._limits.one

    @property
    def folder(self) -> Path:
        """For what is under way."""
        return self._folder

    def _read(self, data: bytes) -> LineageManifest:
        try:
            lineage = parse(data)
        except ManifestError as error:
            raise invalid("BAD_MANIFEST", str(error), "manifest") from None
        if lineage.source is None:
            raise invalid("BAD_MANIFEST", "this is not the manifest of an imported adapter (its version 5)", "manifest")
        if lineage.files.keys() != {*BROUGHT, INDEX} or lineage.evaluation:
            raise invalid(
                "BAD_MANIFEST", f"files must be {', '.join(BROUGHT)} and {INDEX}, and nothing else", "manifest"
            )
        call.must_be(lineage.owner)
        if self._limits.importers and lineage.owner not in self._limits.importers:
            raise denied("MAY_NOT_IMPORT", "OPENLEDGER_OPENLORA_IMPORTERS names who may bring adapters to this service")
        self._shelf.check(lineage)
        return lineage

    async def _finish(self, lineage: LineageManifest, upload: _Upload) -> None:
        loop = asyncio.get_running_loop()
        index = await loop.run_in_executor(self._worker, self._check, lineage, upload)
        # Counted first: what is published and not counted, nobody would count again.
        await self._database.write(lambda c: self._count(c, lineage, upload.size))
        await loop.run_in_executor(self._worker, self._publish, lineage, upload.place, index)

    def _check(self, lineage: LineageManifest, upload: _Upload) -> bytes:
        """The contribution index that the manifest names.  Raises `Fault` where the files are not sound."""
        for name, digest in upload.digests().items():
            if digest != lineage.files[name]:
                raise invalid(
                    "FILE_CHANGED",
                    f"{name} is not the file that the manifest names: it has SHA-256 {digest}, not "
                    f"{lineage.files[name]}; {upload.sizes[name]} bytes came",
                    "piece",
                    file=name,
                )
        try:
            check_adapter(upload.place, self._shape, max_rank=self._max_rank, dora=self._dora)
            _, index = imported.read(upload.place)
            data = index.to_bytes()
        except (AdapterRejected, AdapterError, ContributionIndexError) as error:
            raise precondition("ADAPTER_REJECTED", f"the adapter cannot be served: {error}") from None
        if (hashlib.sha256(data).hexdigest(), root(index).hex()) != (lineage.files[INDEX], lineage.index_root):
            raise invalid(
                "BAD_MANIFEST", f"{INDEX} or index_root is not that of these weights without rows", "manifest"
            )
        return data

    def _check_room(self, c: Connection, lineage: LineageManifest, size: int) -> None:
        if store_adapters.is_brought(c, lineage.revision):
            return  # and counted, before it could be published
        for taken, most, whose in (
            (store_adapters.brought(c, lineage.owner), self._limits.account, "this account's adapters"),
            (store_adapters.brought(c), self._limits.everybody, "all that was brought here"),
        ):
            if taken + size > most:
                raise precondition(
                    "IMPORTS_FULL",
                    f"{whose} have {taken} bytes, and may have {most}: there is no room for more",
                    taken=str(taken),
                    limit=str(most),
                )

    def _count(self, c: Connection, lineage: LineageManifest, size: int) -> None:
        self._check_room(c, lineage, size)
        store_adapters.bring(c, lineage.revision, lineage.owner, size)

    def _publish(self, lineage: LineageManifest, place: Path, index: bytes) -> None:
        for name in BROUGHT:
            self._artifacts.put_file(place / name)
        self._artifacts.put(index)
        self._artifacts.put(lineage.to_bytes())


class _Upload:
    """The files that came so far, on the disk."""

    def __init__(self, imports: Imports, lineage: LineageManifest) -> None:
        self._imports, self._lineage = imports, lineage
        self._hashes = {name: hashlib.sha256() for name in BROUGHT}
        self.sizes = dict.fromkeys(BROUGHT, 0)
        self.place = Path()

    async def __aenter__(self) -> Self:
        self.place = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._imports.folder))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._imports.hold(-self.size)
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, self.place, ignore_errors=True))

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    def digests(self) -> dict[str, str]:
        return {name: found.hexdigest() for name, found in self._hashes.items()}

    async def add(self, name: str, piece: bytes) -> None:
        """The next bytes of a file.  Raises `Fault`."""
        if name not in self._hashes:
            raise invalid("UNKNOWN_FILE", f"{name[:80]!r} is none of {', '.join(BROUGHT)}", "piece.file")
        if self.size + len(piece) > self._imports.most:
            text = f"an adapter's files may have {self._imports.most} bytes together, and there are more of this one's"
            raise invalid("ADAPTER_TOO_LARGE", text, "piece", limit=str(self._imports.most))
        self._imports.hold(len(piece))
        self.sizes[name] += len(piece)
        await asyncio.to_thread(self._write, name, piece)

    def _write(self, name: str, piece: bytes) -> None:
        self._hashes[name].update(piece)
        with (self.place / name).open("ab") as file:
            file.write(piece)
