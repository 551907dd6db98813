"""Put a run into the line, once for each request: admitted, pinned, and under an adapter of its owner's.

No account fills the line: of each only so many wait or run.  Who is served next, `services.factory.store` says.
"""

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
from services.factory.publish import adapter_taken
from services.factory.replay import Replay
from services.factory.run import Run
from services.factory.workshop import Answers, Workshop
from services.kit import call
from services.kit.errors import exhausted

_RETRY_SECONDS = 60.0
"""Hardly any fine-tune takes less."""


class Queue:
    """The line of one Factory."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._answers = workshop, answers

    async def put(self, request: Message, run: Run, clone_of: str = "") -> pb.FineTune:
        """Raises `Fault`: why the run cannot be done, ADAPTER_TAKEN, CANNOT_REPLACE, TOO_MANY_FINE_TUNES."""
        owner = call.principal().address
        job = self._job(await self._w.admission.admit(run, owner), owner, clone_of)
        replay = await self._replay(run)

        def create(c: Connection) -> pb.FineTune:
            self._check_room(c, owner)
            if store.claim_adapter(c, job.adapter, owner) != owner:
                raise adapter_taken(job.adapter)
            store.add_fine_tune(c, job, "waiting for its turn")
            if replay is not None:
                store_snapshots.leave_out(c, job.id, job.snapshots, replay.records)
            return translate.fine_tune_to(job)

        async with self._w.queueing:  # else two at once would count each other's out
            return await self._answers.once(request, pb.FineTune, create)

    def _check_room(self, c: Connection, owner: str) -> None:
        most = self._w.most_unfinished
        if (count := store.queue_length(c, owner)) >= most:
            raise exhausted(
                "TOO_MANY_FINE_TUNES",
                f"accounts/{owner} has {count} fine-tunes that wait or run, and {most} are allowed: wait until one has "
                "ended, or cancel one",
                _RETRY_SECONDS,
            )

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
