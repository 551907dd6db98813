"""google.longrunning.Operations over a table: what takes long is named, watched and found again after a crash.

The work itself belongs to the service: it must be resumable from its own state, and reports here what became of it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from openledger import names
from services.kit import call
from services.kit.database import Database
from services.kit.errors import Fault, not_found

_MAX_WAIT, _POLL = 60.0, 0.1


def operations_table(metadata: MetaData) -> Table:
    """Operations by name."""
    return Table(
        "operation",
        metadata,
        Column("name", Text, primary_key=True),
        Column("owner", Text, nullable=False),
        Column("done", Boolean, nullable=False),
        Column("operation", LargeBinary, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


class Operations(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """The table as a servicer, and the calls by which a service keeps it."""

    def __init__(self, database: Database, metadata: MetaData, service: str) -> None:
        self._database, self._table, self._service = database, metadata.tables["operation"], service

    def create(self, connection: Connection, name: str, owner: str, metadata: Message) -> Any:
        """A new operation of `owner` (a principal's name), in the caller's transaction."""
        operation = operations_pb2.Operation(name=name, metadata=_any(metadata))
        connection.execute(
            insert(self._table).values(name=name, owner=owner, done=False, operation=operation.SerializeToString())
        )
        return operation

    def report(self, connection: Connection, name: str, metadata: Message) -> None:
        """How far it is."""
        operation = self._load(connection, name)
        operation.metadata.CopyFrom(_any(metadata))
        self._store(connection, operation)

    def finish(self, connection: Connection, name: str, response: Message) -> None:
        """It is done."""
        operation = self._load(connection, name)
        operation.response.CopyFrom(_any(response))
        operation.done = True
        self._store(connection, operation)

    def fail(self, connection: Connection, name: str, fault: Fault) -> None:
        """It will not be done."""
        operation = self._load(connection, name)
        operation.error.CopyFrom(Status.FromString(fault.to_status(self._service).SerializeToString()))
        operation.done = True
        self._store(connection, operation)

    async def GetOperation(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """google.longrunning.Operations.GetOperation."""
        return await self._visible(request.name)

    async def WaitOperation(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """google.longrunning.Operations.WaitOperation: returns when it is done, or when the time is over."""
        # Not through timedelta, which overflows: a duration holds any 64-bit number of seconds.
        wanted = request.timeout.seconds + request.timeout.nanos / 1e9 if request.HasField("timeout") else _MAX_WAIT
        deadline = time.monotonic() + min(_MAX_WAIT, wanted)
        while True:
            operation = await self._visible(request.name)
            if operation.done or time.monotonic() >= deadline:
                return operation
            await asyncio.sleep(_POLL)

    async def _visible(self, name: str) -> Any:
        caller = call.principal().name
        query = select(self._table.c.operation).where(self._table.c.name == name, self._table.c.owner == caller)
        data = await self._database.read(lambda c: c.execute(query).scalar_one_or_none())
        if data is None:
            raise not_found("OPERATION_NOT_FOUND", f"there is no operation {name[:120]} of {caller}")
        return operations_pb2.Operation.FromString(data)

    def _load(self, connection: Connection, name: str) -> Any:
        data = connection.execute(select(self._table.c.operation).where(self._table.c.name == name)).scalar_one()
        return operations_pb2.Operation.FromString(data)

    def _store(self, connection: Connection, operation: Any) -> None:
        connection.execute(
            update(self._table)
            .where(self._table.c.name == operation.name)
            .values(done=operation.done, operation=operation.SerializeToString())
        )


def operation_name(kind: str, key: str) -> str:
    """`operations/{kind}-{key}`; raises `ValueError` when that is no name."""
    name = f"operations/{kind}-{key}"
    names.match("operations/*", name)
    return name


def _any(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
