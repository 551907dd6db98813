"""Transport of adapter revisions (published, found, deprecated, flagged) and of the base models that they are for."""

from __future__ import annotations

import asyncio

import grpc
from sqlalchemy import Connection

from openledger import base_models, names
from openledger.factory.v1 import factory_pb2 as pb
from services.factory import erase, store_revisions, translate
from services.factory.model import Revision
from services.factory.publish import announce, check_erased, name_it, put_artifacts
from services.factory.workshop import PAGE, Answers, Workshop, before, cut, mine
from services.kit import call
from services.kit.auth import ACCOUNTS, PUBLIC, services
from services.kit.errors import Fault, invalid, not_found

ACCESS = {
    "PublishAdapterRevision": ACCOUNTS,
    "GetAdapterRevision": PUBLIC,
    "ListAdapterRevisions": PUBLIC,
    "DeprecateAdapterRevision": ACCOUNTS,
    "FlagAdapterRevision": services("datanet"),
    "ListBaseModels": PUBLIC,
}


class RevisionMethods:
    """Part of the servicer."""

    def __init__(self, workshop: Workshop, answers: Answers) -> None:
        self._w, self._database, self._answers = workshop, workshop.database, answers

    async def PublishAdapterRevision(
        self, request: pb.PublishAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        find = mine(request.fine_tune)
        job = await self._database.read(find)
        async with self._w.queueing:
            await self._database.write(lambda c: announce(c, job))
        try:
            revision = await put_artifacts(job, self._w.artifacts, self._w.private)
        except Fault:
            await self._database.read(lambda c: check_erased(c, job))  # its files may have gone with an erased record
            raise
        return await self._answers.once(
            request, pb.AdapterRevision, lambda c: translate.revision_to(name_it(c, revision))
        )

    async def GetAdapterRevision(
        self, request: pb.GetAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        return translate.revision_to(await self._database.read(lambda c: _revision(c, request.name)))

    async def ListAdapterRevisions(
        self, request: pb.ListAdapterRevisionsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListAdapterRevisionsResponse:
        part = names.match("adapters/*", request.parent)[0]
        adapter, size, start = (None if part == "-" else part), request.page_size or PAGE, before(request.page_token)
        page = await self._database.read(
            lambda c: store_revisions.page_revisions(c, adapter, start, size + 1, retired=request.show_retired)
        )
        shown, token = cut(page, size)
        revisions = map(translate.revision_to, shown)
        return pb.ListAdapterRevisionsResponse(adapter_revisions=revisions, next_page_token=token)

    async def DeprecateAdapterRevision(
        self, request: pb.DeprecateAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.AdapterRevision:
        owner = call.principal().address

        def deprecate(c: Connection) -> pb.AdapterRevision:
            if not store_revisions.is_owner(c, request.name, owner):
                raise not_found("REVISION_NOT_FOUND", f"accounts/{owner} has no published {request.name}")
            if request.replacement and not store_revisions.is_owner(c, request.replacement, owner):
                raise not_found("REVISION_NOT_FOUND", f"accounts/{owner} has no published {request.replacement}")
            if request.replacement == request.name:
                raise invalid("BAD_REPLACEMENT", "a revision cannot replace itself", "replacement")
            store_revisions.deprecate(c, request.name, request.reason, request.replacement)
            return translate.revision_to(_revision(c, request.name))

        return await self._answers.once(request, pb.AdapterRevision, deprecate)

    async def FlagAdapterRevision(
        self, request: pb.FlagAdapterRevisionRequest, context: grpc.aio.ServicerContext
    ) -> pb.FlagAdapterRevisionResponse:
        named = () if names.match("adapters/*/revisions/*", request.name) == ("-", "-") else (request.name,)

        def flag(c: Connection) -> pb.FlagAdapterRevisionResponse:
            for name in named:
                _revision(c, name)
            flagged = erase.note(c, request.record, request.reason, named)
            found = [store_revisions.find_revision(c, name) for name in flagged]  # what is announced is not yet
            shown = [translate.revision_to(revision) for revision in found if revision is not None]
            return pb.FlagAdapterRevisionResponse(adapter_revisions=shown)

        answer = await self._answers.once(request, pb.FlagAdapterRevisionResponse, flag)
        # Also where we died before we came to it.
        await erase.purge(self._database, self._w.records, self._w.private, self._w.workers, request.record)
        return answer

    async def ListBaseModels(
        self, request: pb.ListBaseModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListBaseModelsResponse:
        return pb.ListBaseModelsResponse(base_models=await asyncio.to_thread(self._bases))

    def _bases(self) -> list[pb.BaseModel]:
        """Those in the registry that are offered here."""
        known = base_models.registry()
        return [translate.base_to(known[name], _trouble(name)) for name in self._w.admission.bases if name in known]


def _revision(c: Connection, name: str) -> Revision:
    revision = store_revisions.find_revision(c, name)
    if revision is None:
        raise not_found("REVISION_NOT_FOUND", f"there is no published {name}")
    return revision


def _trouble(base: str) -> str:
    try:
        base_models.check(base)
    except (base_models.BaseModelUnavailable, OSError) as error:
        return str(error)
    return ""
