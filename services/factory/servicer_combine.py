"""Transport of combining published revisions."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import grpc

from openledger.factory.v1 import factory_pb2 as pb
from openledger.manifest import Combined
from services.factory import combine, translate
from services.factory.combine import Asked
from services.factory.translate_run import use_from
from services.factory.workshop import Answers, Workshop
from services.kit import call
from services.kit.auth import ACCOUNTS

ACCESS = {"CombineAdapterRevisions": ACCOUNTS}


class CombineMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._database, self._answers = workshop, workshop.database, answers
        self._one_at_a_time = asyncio.Lock()
        """Their indexes are made in memory."""

    async def CombineAdapterRevisions(
        self, request: pb.CombineAdapterRevisionsRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        earlier = await self._answers.earlier(request, pb.AdapterRevision)
        if earlier is not None:
            return earlier
        parents = tuple(Combined(parent.revision, parent.weight_bps) for parent in request.parents)
        asked = Asked(call.principal().address, request.adapter_id, use_from(request.use), parents)
        await self._database.read(lambda c: combine.check_parents(c, asked))
        # Whoever hangs up leaves a thread behind that still writes there.
        with tempfile.TemporaryDirectory(dir=self._w.combiner.folder, ignore_cleanup_errors=True) as folder:
            async with self._one_at_a_time:
                made = await asyncio.to_thread(self._w.combiner.make, asked, Path(folder))
            async with self._w.queueing:
                await self._database.write(lambda c: combine.announce(c, asked, made.revision))
            revision = await asyncio.to_thread(self._w.combiner.publish, made)
        return await self._answers.once(
            request, pb.AdapterRevision, lambda c: translate.revision_to(combine.name_it(c, asked, revision))
        )
