"""Waiting for operations, whatever is asked for."""

from __future__ import annotations

import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import MetaData

from services.kit import call
from services.kit.auth import Principal
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.operations import Operations, operations_table

METADATA = MetaData()
operations_table(METADATA)


@pytest.fixture
def operations(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db")
    database.write_now(METADATA.create_all)
    operations = Operations(database, METADATA, "toy")
    database.write_now(lambda c: operations.create(c, "operations/work", "accounts/0x1", Duration()))
    call.enter(call.Call("WaitOperation", "id", Principal(address="0x1")))
    yield operations
    database.close()


@pytest.mark.parametrize("wanted", (Duration(nanos=1), Duration(seconds=-1), Duration(seconds=-(2**62))))
async def test_a_wait_may_be_as_short_as_one_likes(operations, wanted):
    request = operations_pb2.WaitOperationRequest(name="operations/work", timeout=wanted)
    assert not (await operations.WaitOperation(request, None)).done


@pytest.mark.parametrize("wanted", (None, Duration(seconds=2**62)), ids=("unsaid", "longer than any calendar"))
async def test_a_wait_is_never_longer_than_a_minute(operations, monkeypatch, wanted):
    monkeypatch.setattr("services.kit.operations._MAX_WAIT", 0.01)
    request = operations_pb2.WaitOperationRequest(name="operations/work", timeout=wanted)
    assert not (await operations.WaitOperation(request, None)).done


async def test_an_operation_is_its_owners_alone(operations):
    call.enter(call.Call("GetOperation", "id", Principal(address="0x2")))
    with pytest.raises(Fault) as caught:
        await operations.GetOperation(operations_pb2.GetOperationRequest(name="operations/work"), None)
    assert caught.value.reason == "OPERATION_NOT_FOUND"
