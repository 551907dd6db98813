"""Put a run into the line, once for each request: admitted, pinned, and under an adapter of its owner's."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

from google.protobuf.message import Message
from sqlalchemy import Connection

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import store, store_revisions, store_snapshots, translate, unlearn
from services.factory.admit import Admitted
from services.factory.model import FineTune
from services.factory.replay import Replay
from services.factory.run import Run
from services.factory.workshop import Answers, Workshop
from services.kit import call
from services.kit.errors import exists


class Queue:
    """The line of one Factory."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._answers = workshop, answers

    async def put(self, request: Message, run: Run, clone_of: str = "") -> pb.FineTune:
        """Raises `Fault`: why the run cannot be done, ADAPTER_TAKEN, CANNOT_REPLACE."""
        owner = call.principal().address
        job = self._job(await self._w.admission.admit(run), owner, clone_of)
        replay = await self._replay(run)

        def create(c: Connection) -> pb.FineTune:
            if store.claim_adapter(c, job.adapter, owner) != owner:
                raise exists("ADAPTER_TAKEN", f"adapters/{job.adapter} is another account's; choose another adapter_id")
            store.add_fine_tune(c, job, "waiting for its turn")
            if replay is not None:
                store_snapshots.leave_out(c, job.id, job.snapshots, replay.records)
            return translate.fine_tune_to(job)

        return await self._answers.once(request, pb.FineTune, create)

    async def _replay(self, run: Run) -> Replay | None:
        """The steps that a run takes again, which are kept where workers find them."""
        if run.replaces is None:
            return None
        name = run.replaces.revision
        revision = await self._w.database.read(lambda c: store_revisions.find_revision(c, name))
        replay, training = await asyncio.to_thread(unlearn.check, run, revision, self._w.artifacts)
        await asyncio.to_thread(self._w.records.put, training)
        return replay

    def _job(self, admitted: Admitted, owner: str, clone_of: str) -> FineTune:
        run = admitted.run
        return FineTune(
            id=uuid.uuid4().hex,
            owner=owner,
            adapter=run.adapter,
            spec=run.spec,
            snapshots=run.snapshots,
            base_sha256=run.base_sha256,
            threads=self._w.threads,
            create_time=datetime.now(UTC),
            use=run.use,
            licence=admitted.outcome.licence,
            attributions=admitted.outcome.attributions,
            clone_of=clone_of,
            replaces=run.replaces,
        )
