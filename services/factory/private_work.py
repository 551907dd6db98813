"""The private files of a fine-tune: made through the executor once it is trained, kept by revision, and given up.

They hold people's texts, so a worker's copy goes as soon as the kept one is there, or its fine-tune came to nothing;
and when a record is erased, those of all revisions that were made from it go.  Knows nothing of what is in them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from services.factory import sketches, store
from services.kit.database import Database
from services.kit.executor import Done, Executor, Report, Shard, run_all
from services.kit.private_files import PrivateFiles
from services.kit.wait import to_its_end

TASK = "services.factory.private_task:private_files"


class PrivateWork:
    """Of one Factory."""

    def __init__(
        self, database: Database, executor: Executor, kept: PrivateFiles, key: str, kind: str = sketches.KIND
    ) -> None:
        """key: that manifests are signed with, of which the files' salts are made; kind: of record sketches."""
        self._database, self._executor, self._kept, self._key, self._kind = database, executor, kept, key, kind

    def shards(self, run: Shard) -> list[Shard]:
        """The work that makes them.  run: the fine-tune's own shard."""
        salts = {name: self._salt(run, name) for name in (SPAN_INDEX, RECORD_SKETCHES)}
        made_of = {**run.arguments, "run": run.digest(), "salts": salts, "kind": self._kind}
        return [Shard(TASK, made_of)]

    async def make(self, run: Shard, tell: Report) -> list[Done]:
        """Their files, in the workers' folders.  Raises `TaskFailed`."""
        tell({"phase": "private", "step": 0, "steps": 0})
        return await run_all(self._executor, self.shards(run), lambda *_: None, at_once=1, report=tell)

    async def keep(self, run: Shard, revision: str, made: Sequence[Done]) -> None:
        """Keep them for a revision, by the digest that its name ends with."""
        await to_its_end(self._copy, revision, made)
        await self.drop(run)

    def _copy(self, revision: str, made: Sequence[Done]) -> None:
        for done in made:
            for name in done.result["files"]:
                self._kept.put(revision, name, done.output / name)

    async def drop(self, run: Shard) -> None:
        """Remove what workers made, or left of it."""
        for shard in self.shards(run):
            await self._executor.remove(shard)

    async def sweep(self) -> None:
        """Remove what is kept for revisions that no fine-tune has come to: who made it was killed, or had to stop."""
        known = await self._database.read(store.revisions)
        await asyncio.to_thread(self._kept.keep_only, {name.rpartition("/")[2] for name in known})

    def _salt(self, run: Shard, name: str) -> str:
        """32 bytes, hex: secret, for a manifest names the file's SHA-256 and must not confirm guesses at the texts.

        The same for the same run, so that whatever is made again has the same name.
        """
        message = f"openledger.private.v1\n{name}\n{run.digest()}".encode()
        return hmac.new(bytes.fromhex(self._key.removeprefix("0x")), message, hashlib.sha256).hexdigest()
