"""Transport of datanets: opening, describing, finding, changing."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import define, pages, search, store, store_members, store_records, wire
from services.datanet.answers import Answers, now
from services.datanet.model import Datanet
from services.datanet.store import Wanted
from services.kit import call
from services.kit.auth import ACCOUNTS, OPEN
from services.kit.errors import exists, invalid, unauthenticated

ACCESS = {
    "CreateDatanet": ACCOUNTS,
    "GetDatanet": OPEN,
    "ListDatanets": OPEN,
    "UpdateDatanet": ACCOUNTS,
}


class DatanetMethods:
    """RPCs about datanets.  `most`: how many an account may own."""

    def __init__(self, answers: Answers, most: int) -> None:
        self._answers, self._most_datanets = answers, most

    async def CreateDatanet(self, request: pb.CreateDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        definition, time = define.checked(wire.definition(request.datanet)), now()
        datanet = Datanet(request.datanet_id, call.principal().address, definition, 0, 0, 1, time, time)

        def act(c: Connection) -> pb.Datanet:
            store.check_room(c, datanet.owner, self._most_datanets)
            if not store.add(c, datanet):
                raise exists("DATANET_EXISTS", f"{datanet.name} is there already: take another datanet_id")
            return wire.datanet(datanet)

        return await self._answers.once("CreateDatanet", request.request_id, request, pb.Datanet, act)

    async def GetDatanet(self, request: pb.GetDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        (datanet,), caller = names.match("datanets/*", request.name), call.principal()
        at = await self._answers.database.read(lambda c: store_members.standing(c, datanet, caller))
        return wire.datanet(at.datanet)

    async def ListDatanets(
        self, request: pb.ListDatanetsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListDatanetsResponse:
        viewer, wanted = call.principal(), _wanted(request)
        if wanted.mine and not viewer.address:
            raise unauthenticated("SIGN_IN", "mine: whose datanets these are is known of who signs in")
        question = _question(wanted, viewer.name if wanted.mine else "")
        after, size = pages.after(question, request.page_token, [int, str]), pages.size(request.page_size)

        def look(c: Connection) -> list[Datanet]:
            return store.page(c, after, size + 1, viewer, wanted)

        rows = [wire.datanet(datanet) for datanet in await self._answers.database.read(look)]
        page, more = pages.cut(rows, size, lambda row: row.ByteSize())
        last: Any = page[-1] if more else None
        token = pages.token(question, [last.create_time.ToMicroseconds(), _id(last.name)]) if last else ""
        return pb.ListDatanetsResponse(datanets=page, next_page_token=token)

    async def UpdateDatanet(self, request: pb.UpdateDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        datanet, caller = _id(request.datanet.name), call.principal()
        draft = wire.definition(request.datanet)

        def act(c: Connection) -> pb.Datanet:
            at = store_members.standing(c, datanet, caller, lock=True)
            at.must_own("changes")
            given, mask = store_records.given(c, datanet), list(request.update_mask.paths)
            changed = define.revised(at.datanet, draft, mask, request.datanet.etag, given)
            store.redefine(c, datanet, changed, now())
            return wire.datanet(store.get(c, datanet))

        return await self._answers.once("UpdateDatanet", request.request_id, request, pb.Datanet, act)


def _wanted(request: pb.ListDatanetsRequest) -> Wanted:
    return Wanted(
        words=search.words(request.filter, "filter"),
        tags=tuple(sorted(set(request.tags))),
        kind=wire.kind(request.kind),
        mine=request.mine,
    )


def _question(wanted: Wanted, who: str) -> str:
    """Short, however much is asked for: it stands in page tokens."""
    asked = repr((wanted.words, wanted.tags, wanted.kind and wanted.kind.value, who))
    return f"datanets {hashlib.sha256(asked.encode()).hexdigest()[:16]}"


def _id(name: str) -> str:
    try:
        return names.match("datanets/*", name)[0]
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"datanet.name: {error}", "datanet.name") from None
