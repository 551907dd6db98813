"""The demo's client outlasts a service that is killed and started again."""

from __future__ import annotations

import grpc
import pytest

from openledger.cli.demo import patience
from openledger.cli.demo.patience import PatientClient, repeated
from openledger.client import ApiError, Endpoints
from openledger.ledger.v1 import ledger_pb2

NOWHERE = Endpoints(*["127.0.0.1:1"] * 5)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(patience, "_PAUSE", 0.0)


def failing(*reasons: str):
    """A method that fails for these reasons, one a call, and then answers; and the requests that it saw."""
    seen, left = [], list(reasons)

    async def method(request, timeout, metadata):
        seen.append(request)
        if left:
            raise ApiError(grpc.StatusCode.UNAVAILABLE, left.pop(0), "", {}, None)
        return "answer"

    return method, seen


async def test_the_same_request_is_made_again_while_something_is_starting():
    method, seen = failing("UNREACHABLE", "LEDGER_UNAVAILABLE")
    request = ledger_pb2.GetBalanceRequest(account="accounts/0x1")
    async with PatientClient(NOWHERE) as client:
        assert await client.call(method, request) == "answer"
    assert seen == [request] * 3


async def test_a_refusal_is_not_asked_again():
    method, seen = failing("NO_BALANCE")
    async with PatientClient(NOWHERE) as client:
        with pytest.raises(ApiError, match="NO_BALANCE"):
            await client.call(method, ledger_pb2.GetBalanceRequest())
    assert len(seen) == 1


async def test_a_stream_that_is_used_up_is_not_sent_again():
    method, seen = failing("UNREACHABLE")

    async def upload():
        yield ledger_pb2.GetBalanceRequest()

    async with PatientClient(NOWHERE) as client:
        with pytest.raises(ApiError, match="UNREACHABLE"):
            await client.call(method, upload())
    assert len(seen) == 1


async def test_patience_ends(monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", 0.0)
    method, _ = failing(*["UNREACHABLE"] * 10_000)
    with pytest.raises(ApiError, match="UNREACHABLE"):
        await repeated(lambda: method(None, 1, ()))
