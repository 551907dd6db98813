"""What the Factory refuses, and what it says then."""

from __future__ import annotations

import grpc
import pytest

from openledger.factory.v1 import factory_pb2 as pb
from tests.integration.factory.conftest import (
    LONG,
    STRANGER,
    cancel,
    create,
    creation,
    get,
    listed,
    publish,
    refused,
    watch,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "reason"),
    (
        ({"base": "gpt-9"}, "UNKNOWN_BASE"),
        ({"prompt_template": "{colour}"}, "UNKNOWN_FIELD"),
        ({"completion_template": "{answer"}, "BAD_TEMPLATE"),
        ({"prompt_template": "{question.__class__}"}, "BAD_TEMPLATE"),
        ({"prompt_template": "no field"}, "BAD_SPEC"),
        ({"precision": "float7"}, "BAD_SPEC"),
        ({"rank": 513}, "INVALID_FIELD"),
        ({"learning_rate": 1.0}, "INVALID_FIELD"),
        ({"learning_rate": float("nan")}, "INVALID_FIELD"),
        ({"snapshots": []}, "INVALID_FIELD"),
        ({"snapshots": ["datanets/letters"]}, "INVALID_FIELD"),
    ),
)
async def test_a_specification_that_cannot_be_done_is_refused(client, base, changes, reason):
    await refused(create(client, base, **changes), reason, INVALID)
    assert await listed(client) == []


async def test_an_unknown_snapshot_is_refused(client, base):
    call = create(client, base, snapshots=["datanets/letters/snapshots/2"])
    await refused(call, "SNAPSHOT_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_a_snapshot_that_is_not_anchored_is_refused(client, base, datanet):
    datanet.anchored = False
    await refused(create(client, base), "SNAPSHOT_NOT_ANCHORED", grpc.StatusCode.FAILED_PRECONDITION)


async def test_an_empty_snapshot_is_refused(client, base, datanet):
    datanet.records.clear()
    await refused(create(client, base), "EMPTY_SNAPSHOT", grpc.StatusCode.FAILED_PRECONDITION)


async def test_a_request_id_is_good_for_one_request(client, base):
    request = creation(base)
    made = await client.call(client.factory.CreateFineTune, request)
    assert await client.call(client.factory.CreateFineTune, request) == made
    assert [job.name for job in await listed(client)] == [made.name]
    request.spec.epochs += 1
    await refused(client.call(client.factory.CreateFineTune, request), "REQUEST_ID_REUSED", INVALID)


async def test_another_account_sees_and_stops_nothing(client, base, around):
    made = await create(client, base, epochs=LONG + 1)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        for call in (get, cancel, publish, watch):
            await refused(call(stranger, made.name), "FINE_TUNE_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
        await refused(create(stranger, base), "ADAPTER_TAKEN", grpc.StatusCode.ALREADY_EXISTS)
        assert await listed(stranger) == []
    await cancel(client, made.name)


async def test_nobody_creates_a_fine_tune(client, base):
    client._fixed_token = lambda: ""
    await refused(create(client, base), "SIGN_IN", grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize("token", ("²", "-1", "x", "9" * 30))
async def test_a_page_token_of_another_list_is_refused(client, token):
    request = pb.ListFineTunesRequest(page_token=token)
    await refused(client.call(client.factory.ListFineTunes, request), "BAD_PAGE_TOKEN", INVALID)
