"""What becomes of published revisions: offered, deprecated by their owner, flagged when their data are erased."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from openledger import adapters
from openledger.artifacts import ArtifactStore
from openledger.client import request_id
from openledger.factory.v1 import factory_pb2 as pb
from services.kit.testing import as_service
from tests.factory_world import SECOND, Datanet, snapshot_records
from tests.integration.factory.conftest import (
    LONG,
    RECORDS,
    STRANGER,
    create,
    estimate,
    finish,
    get,
    in_training,
    publish,
    refused,
    watch,
)

PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
ALL = "adapters/-/revisions/-"
FIRST_ONLY, COMMON = "datanets/letters/records/r0003", "datanets/letters/records/r0015"


@pytest.fixture
def datanet():
    """Two versions of a datanet; the second one lacks the first ten records."""
    return Datanet(snapshot_records(RECORDS, 4), others={SECOND: snapshot_records(RECORDS - 10, 4, start=10)})


async def published(client, base, **changes):
    """A revision that is on chain as well, so that nothing more is learnt of it by itself."""
    done = await finish(client, (await create(client, base, **changes)).name)
    revision = await publish(client, done.name)
    async with asyncio.timeout(60):
        while not revision.registration.transaction:
            await asyncio.sleep(0.05)
            revision = await resolve(client, revision.name)
    return revision


async def offered(client, *, retired=False):
    request = pb.ListAdapterRevisionsRequest(parent="adapters/letters", show_retired=retired)
    return [r.name for r in (await client.call(client.factory.ListAdapterRevisions, request)).adapter_revisions]


async def resolve(client, name):
    return await client.call(client.factory.GetAdapterRevision, pb.GetAdapterRevisionRequest(name=name))


async def deprecate(client, name, reason="there is a better one"):
    request = pb.DeprecateAdapterRevisionRequest(name=name, reason=reason, request_id=request_id())
    return await client.call(client.factory.DeprecateAdapterRevision, request)


async def flag(where, record, name=ALL, caller="datanet"):
    request = pb.FlagAdapterRevisionRequest(
        name=name, record=record, reason="its author erased it", request_id=request_id()
    )
    async with as_service(caller, factory=where) as datanet:
        return await datanet.call(datanet.factory.FlagAdapterRevision, request)


async def test_a_deprecated_revision_is_not_offered_and_can_still_be_used(client, base, around, tmp_path):
    revision = await published(client, base)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        await refused(deprecate(stranger, revision.name), "REVISION_NOT_FOUND", NOT_FOUND)
    told = await deprecate(client, revision.name)
    assert (told.state, told.deprecation_reason) == (
        pb.ADAPTER_REVISION_STATE_DEPRECATED,
        "there is a better one",
    )
    assert await deprecate(client, revision.name, "second thoughts") == told, "the first word stays"
    assert await offered(client) == []
    assert await offered(client, retired=True) == [revision.name]
    assert await resolve(client, revision.name) == told
    digest = revision.name.rpartition("/")[2]
    assert adapters.materialise(ArtifactStore(tmp_path / "artifacts"), digest, tmp_path / "loaded").is_dir()
    await refused(deprecate(client, "adapters/letters/revisions/" + "0" * 64), "REVISION_NOT_FOUND", NOT_FOUND)


async def test_an_erased_record_flags_what_was_made_from_it(client, base, tmp_path):
    first, second = await published(client, base), await published(client, base, snapshots=[SECOND])
    told = await flag(client.endpoints.factory, FIRST_ONLY)
    assert [revision.name for revision in told.adapter_revisions] == [first.name]
    flagged = await resolve(client, first.name)
    assert flagged.state == pb.ADAPTER_REVISION_STATE_FLAGGED
    assert [(f.record, f.reason) for f in flagged.flags] == [(FIRST_ONLY, "its author erased it")]
    assert await offered(client) == [second.name]
    assert await flag(client.endpoints.factory, FIRST_ONLY) == told, "told again is as told once"
    told = await flag(client.endpoints.factory, COMMON)
    assert {revision.name for revision in told.adapter_revisions} == {first.name, second.name}
    assert await offered(client) == []


async def test_a_revision_that_somebody_knows_to_be_made_from_it_can_be_named(client, base):
    revision = await published(client, base)
    where, other = client.endpoints.factory, "datanets/elsewhere/records/r1"
    told = await flag(where, other, revision.name)
    assert [r.name for r in told.adapter_revisions] == [revision.name]
    unknown = flag(where, other, "adapters/letters/revisions/" + "0" * 64)
    await refused(unknown, "REVISION_NOT_FOUND", NOT_FOUND)


@pytest.mark.parametrize("caller", ("openlora", "attribution", "ledger", "factory"))
async def test_only_the_datanet_says_what_is_erased(client, caller):
    call = flag(client.endpoints.factory, FIRST_ONLY, caller=caller)
    await refused(call, "NOT_FOR_THIS_CALLER", grpc.StatusCode.PERMISSION_DENIED)


async def test_an_account_cannot_say_that_something_is_erased(client):
    request = pb.FlagAdapterRevisionRequest(name=ALL, record=FIRST_ONLY, reason="x", request_id=request_id())
    call = client.call(client.factory.FlagAdapterRevision, request)
    await refused(call, "NOT_FOR_THIS_CALLER", grpc.StatusCode.PERMISSION_DENIED)


async def test_the_text_of_an_erased_record_leaves_this_machine(client, base, tmp_path):
    await estimate(client, base)
    await finish(client, (await create(client, base)).name)
    assert texts(tmp_path, FIRST_ONLY)
    await flag(client.endpoints.factory, FIRST_ONLY)
    assert not texts(tmp_path, FIRST_ONLY)


def texts(folder: Path, record: str) -> list[Path]:
    """The files of the Factory that name the record, its database left out."""
    kept = (folder / "factory" / "records").rglob("*")
    return [file for file in kept if file.is_file() and record.encode() in file.read_bytes()]


async def test_a_record_erased_after_the_estimate_is_not_trained_on(client, base, datanet):
    """The Datanet has only a tombstone by now: no fields, no salt."""
    await estimate(client, base)
    datanet.corrupt(3, fields={}, salt=b"")
    done = await finish(client, (await create(client, base)).name)
    assert (done.state, done.reason) == (pb.FINE_TUNE_STATE_FAILED, "RECORD_ERASED")
    assert datanet.records[3].name in done.message
    await refused(publish(client, done.name), "NOT_SUCCEEDED", PRECONDITION)


async def test_a_record_erased_while_it_trains_stops_it(alone, base):
    made = await create(alone, base, epochs=LONG)
    await watch(alone, made.name, until=in_training)
    await flag(alone.endpoints.factory, COMMON)
    done = await finish(alone, made.name)
    assert (done.state, done.reason, done.status) == (pb.FINE_TUNE_STATE_FAILED, "RECORD_ERASED", "failed")
    assert (await watch(alone, made.name))[-1].level == "error"
    await refused(estimate(alone, base), "RECORD_ERASED", PRECONDITION)


async def test_a_record_erased_before_publishing_keeps_it_from_being_published(client, base, tmp_path):
    done = await finish(client, (await create(client, base)).name)
    await flag(client.endpoints.factory, FIRST_ONLY)
    await refused(publish(client, done.name), "RECORD_ERASED", PRECONDITION)
    assert await offered(client, retired=True) == []
    assert not list((tmp_path / "artifacts").rglob("*")), "not one file of it is public"
    assert (await get(client, done.name)).state == pb.FINE_TUNE_STATE_SUCCEEDED


async def test_there_is_no_evaluation_of_what_has_not_ended(client, base):
    made = await create(client, base, epochs=LONG + 1)
    request = pb.GetFineTuneEvaluationRequest(name=f"{made.name}/evaluation")
    await refused(client.call(client.factory.GetFineTuneEvaluation, request), "NOT_EVALUATED", NOT_FOUND)
    async with as_service("datanet", factory=client.endpoints.factory) as service:
        call = service.call(service.factory.GetFineTuneEvaluation, request)
        await refused(call, "NOT_FOR_THIS_CALLER", grpc.StatusCode.PERMISSION_DENIED)
