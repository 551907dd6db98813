"""Transport of taking records back: withdrawing and erasing."""

from __future__ import annotations

from typing import Any

import grpc
from google.longrunning import operations_pb2
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import erase, store_erasures, store_members, store_records, wire
from services.datanet.answers import Answers, now
from services.datanet.erasing import Erasing
from services.datanet.model import RecordState
from services.datanet.vault import Vault
from services.kit import call
from services.kit.auth import ACCOUNTS
from services.kit.operations import Operations

ACCESS = {"WithdrawRecord": ACCOUNTS, "EraseRecord": ACCOUNTS}


class ErasureMethods:
    """RPCs that end a record's use."""

    def __init__(self, answers: Answers, vault: Vault, operations: Operations, erasing: Erasing) -> None:
        self._answers, self._vault = answers, vault
        self._operations, self._erasing = operations, erasing

    async def WithdrawRecord(self, request: pb.WithdrawRecordRequest, context: grpc.aio.ServicerContext) -> pb.Record:
        (datanet, record_id), caller = names.match("datanets/*/records/*", request.name), call.principal()

        def act(c: Connection) -> pb.Record:
            at = store_members.standing(c, datanet, caller, lock=True)
            record = store_records.get(c, datanet, record_id, caller.address)
            erase.check_withdrawal(at, record, request.reason)
            moved = store_records.move(c, record, RecordState.WITHDRAWN, request.reason, now())
            # Without what it says, and why it is withdrawn: the answer is kept, and must not outlive the record.
            return wire.record(moved, None)

        return await self._answers.once("WithdrawRecord", request.request_id, request, pb.Record, act)

    async def EraseRecord(
        self, request: pb.EraseRecordRequest, context: grpc.aio.ServicerContext
    ) -> operations_pb2.Operation:
        (datanet, record_id), caller = names.match("datanets/*/records/*", request.name), call.principal()

        def act(c: Connection) -> Any:
            at = store_members.standing(c, datanet, caller, lock=True)
            record = store_records.get(c, datanet, record_id, caller.address)
            erase.check_erasure(at, record, request.reason)
            operation, told = erase.operation(record), erase.told(at, record)
            store_erasures.begin(c, self._vault, record, operation, now(), reason=request.reason, told=told)
            progress = erase.progress(record.name, erase.DESTROYING)
            return self._operations.create(c, operation, caller.name, progress)

        kind = operations_pb2.Operation
        operation = await self._answers.once("EraseRecord", request.request_id, request, kind, act)
        self._erasing.wake()
        return operation
