"""Transport of leaving contributors out: the report of what that changes, and the run that replaces a revision."""

from __future__ import annotations

import asyncio

import grpc
from sqlalchemy import Connection

from openledger import manifest, names
from openledger.factory.v1 import factory_pb2 as pb
from services.factory import store, store_revisions, store_snapshots, translate, unlearn
from services.factory.model import FineTune, Revision
from services.factory.queue import Queue
from services.factory.run import RunError
from services.factory.unlearn import WEIGHTS, Known
from services.factory.workshop import Answers, Workshop
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.errors import not_found

ACCESS = {"CreateReplacement": ACCOUNTS, "GetUnlearningReport": ACCOUNTS}

Replaced = list[tuple[FineTune, Revision | None]]


class UnlearnMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._database, self._answers = workshop, workshop.database, answers
        self._queue = Queue(workshop, answers)

    async def CreateReplacement(
        self, request: pb.CreateReplacementRequest, context: grpc.aio.ServicerContext
    ) -> pb.FineTune:
        earlier = await self._answers.earlier(request, pb.FineTune)
        if earlier is not None:
            return earlier
        owner = call.principal().address

        def find(c: Connection) -> Revision:
            revision = store_revisions.find_revision(c, request.revision)
            if revision is None or not store_revisions.is_owner(c, request.revision, owner):
                raise not_found("REVISION_NOT_FOUND", f"accounts/{owner} has no published {request.revision}")
            return revision

        revision = await self._database.read(find)
        try:
            run = unlearn.replacement(revision, list(map(names.account_address, request.without)), request.audited)
        except RunError as error:
            raise unlearn.cannot(request.revision, str(error)) from error
        return await self._queue.put(request, run)

    async def GetUnlearningReport(
        self, request: pb.GetUnlearningReportRequest, context: grpc.aio.ServicerContext
    ) -> pb.UnlearningReport:
        caller, who = call.principal().address, names.account_address(request.contributor)

        def look(c: Connection) -> tuple[Revision, FineTune | None, int, Replaced]:
            revision = store_revisions.find_revision(c, request.revision)
            if revision is None:
                raise not_found("REVISION_NOT_FOUND", f"there is no published {request.revision}")
            made: Replaced = [
                (other, store_revisions.find_revision(c, other.revision) if other.revision else None)
                for other in store.replacements(c, request.revision)
            ]
            shown = [one for one in made if one[1] is not None or one[0].owner == caller]
            job = store.find(c, revision.fine_tune) if revision.fine_tune else None
            return revision, job, store_snapshots.count_erased(c, unlearn.snapshots(revision)), shown

        revision, job, erased, replacements = await self._database.read(look)
        known = await unlearn.known(revision, job, who, self._w.artifacts, self._w.find, erased)
        return await asyncio.to_thread(_report_to, known, replacements, caller)


def _report_to(found: Known, replacements: Replaced, caller: str) -> pb.UnlearningReport:
    stored, rise = found.counterfactual, found.measured_rise
    return pb.UnlearningReport(
        revision=found.revision,
        contributor=names.account(found.contributor),
        records=found.records,
        train_records=found.train_records,
        erased_records=found.erased_records,
        predicted_rise=found.predicted_rise,
        measured_rise=None if rise is None else rise.mean,
        measured_error=None if rise is None else rise.error,
        held_out_records=found.held_out,
        counterfactual_stored=stored is not None,
        counterfactual="" if stored is None else stored.work,
        counterfactual_sha256="" if stored is None else stored.sha256,
        replacements=[_run_to(found, job, made, caller) for job, made in replacements],
        words=unlearn.words(found, replacements),
    )


def _run_to(found: Known, job: FineTune, made: Revision | None, caller: str) -> pb.ReplacementRun:
    without = job.replaces.without if job.replaces is not None else ()
    stored = found.counterfactual
    same = (
        made is not None
        and stored is not None
        and without == (found.contributor,)
        and manifest.parse(made.manifest).files[WEIGHTS] == stored.sha256
    )
    return pb.ReplacementRun(
        fine_tune=job.name if job.owner == caller else "",
        state=translate.state_to(job.state),
        without=map(names.account, without),
        revision=made.name if made is not None else "",
        same_as_counterfactual=same,
    )
