"""Transport of datanets, and the whole servicer put together.  Rules and tables are elsewhere."""

from __future__ import annotations

import grpc
from prometheus_client import Counter
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from openledger.datanet.v1 import datanet_pb2_grpc
from services.datanet import define, pages, store, wire
from services.datanet.anchoring import Anchoring
from services.datanet.answers import Answers, now
from services.datanet.model import Datanet
from services.datanet.parse import Parsing
from services.datanet.servicer_files import ACCESS as FILES
from services.datanet.servicer_files import FileMethods
from services.datanet.servicer_records import RecordMethods
from services.datanet.servicer_snapshots import SnapshotMethods
from services.datanet.upload import Limits, Room
from services.kit import call
from services.kit.auth import ACCOUNTS, PUBLIC, Access, services
from services.kit.database import Database
from services.kit.errors import denied, exists, invalid
from services.kit.operations import Operations

# Open to all, but who is signed in is known: contributors and owners see more.
_OPEN_TO_ALL = Access(anyone=True, accounts=True)

ACCESS = {
    "CreateDatanet": ACCOUNTS,
    "GetDatanet": PUBLIC,
    "ListDatanets": PUBLIC,
    "UpdateDatanet": ACCOUNTS,
    "ContributeRecords": ACCOUNTS,
    "GetRecord": _OPEN_TO_ALL,
    "ListRecords": _OPEN_TO_ALL,
    "CreateSnapshot": ACCOUNTS,
    "GetSnapshot": PUBLIC,
    "ListSnapshots": PUBLIC,
    "ReadSnapshot": services("factory", accounts=True),
    "GetInclusionProof": ACCOUNTS,
    "GetOperation": ACCOUNTS,
    "WaitOperation": ACCOUNTS,
    **FILES,
}


class DatanetServicer(RecordMethods, SnapshotMethods, FileMethods, datanet_pb2_grpc.DatanetServiceServicer):
    """openledger.datanet.v1.DatanetService."""

    def __init__(
        self,
        database: Database,
        operations: Operations,
        background: Anchoring,
        limits: Limits,
        room: Room,
        outcomes: Counter,
        parsing: Parsing,
        files: Room,
        max_file: int,
    ) -> None:
        answers = Answers(database)
        SnapshotMethods.__init__(self, answers, operations, background)
        RecordMethods.__init__(self, answers, limits, room, outcomes)
        FileMethods.__init__(self, answers, parsing, files, max_file)

    async def CreateDatanet(self, request: pb.CreateDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        definition, time = define.checked(wire.definition(request.datanet)), now()
        datanet = Datanet(request.datanet_id, call.principal().address, definition, 0, 0, 1, time, time)

        def act(c: Connection) -> pb.Datanet:
            if not store.add(c, datanet):
                raise exists("DATANET_EXISTS", f"{datanet.name} is there already: take another datanet_id")
            return wire.datanet(datanet)

        return await self._answers.once("CreateDatanet", request.request_id, request, pb.Datanet, act)

    async def GetDatanet(self, request: pb.GetDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        (datanet,) = names.match("datanets/*", request.name)
        return wire.datanet(await self._answers.database.read(lambda c: store.get(c, datanet)))

    async def ListDatanets(
        self, request: pb.ListDatanetsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListDatanetsResponse:
        after = pages.after("datanets", request.page_token, [int, str])
        size = pages.size(request.page_size)
        rows = [wire.datanet(d) for d in await self._answers.database.read(lambda c: store.page(c, after, size + 1))]
        page, more = pages.cut(rows, size, lambda row: row.ByteSize())
        last = page[-1] if more else None
        token = pages.token("datanets", [last.create_time.ToMicroseconds(), _id(last.name)]) if last else ""
        return pb.ListDatanetsResponse(datanets=page, next_page_token=token)

    async def UpdateDatanet(self, request: pb.UpdateDatanetRequest, context: grpc.aio.ServicerContext) -> pb.Datanet:
        datanet, owner = _id(request.datanet.name), call.principal().address
        draft = wire.definition(request.datanet)

        def act(c: Connection) -> pb.Datanet:
            current = store.locked(c, datanet)
            if current.owner != owner:
                raise denied("NOT_YOURS", f"only its owner changes {current.name}")
            changed = define.revised(current, draft, list(request.update_mask.paths), request.datanet.etag)
            store.redefine(c, datanet, changed, now())
            return wire.datanet(store.get(c, datanet))

        return await self._answers.once("UpdateDatanet", request.request_id, request, pb.Datanet, act)


def _id(name: str) -> str:
    try:
        return names.match("datanets/*", name)[0]
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"datanet.name: {error}", "datanet.name") from None
