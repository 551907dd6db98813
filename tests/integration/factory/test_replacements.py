"""A contributor is left out of a published revision: what is told of it, and the run that replaces it."""

from __future__ import annotations

import grpc
import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.client import request_id
from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import address
from tests.integration.factory.conftest import STRANGER, create, finish, publish, refused
from tests.integration.factory.test_revisions import flag

PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
WHO, SOMEBODY = f"accounts/{address(2)}", f"accounts/{address(3)}"
WEIGHTS = "adapter_model.safetensors"
MEASURED = {"held_out": 0.2, "leave_one_out": True, "seed": 7}
pytestmark = pytest.mark.timeout(600)


async def published(client, base, **changes):
    done = await finish(client, (await create(client, base, **changes)).name)
    assert done.message == ""
    return await publish(client, done.name)


async def replace(client, revision, *without, **more):
    request = pb.CreateReplacementRequest(revision=revision, without=without, request_id=request_id(), **more)
    return await client.call(client.factory.CreateReplacement, request)


async def report(client, revision, contributor=WHO):
    request = pb.GetUnlearningReportRequest(revision=revision, contributor=contributor)
    return await client.call(client.factory.GetUnlearningReport, request)


async def deprecate(client, revision, replacement=""):
    request = pb.DeprecateAdapterRevisionRequest(
        name=revision, reason="a contributor left", replacement=replacement, request_id=request_id()
    )
    return await client.call(client.factory.DeprecateAdapterRevision, request)


async def erase(client, datanet, leaf):
    await flag(client.endpoints.factory, datanet.erase(leaf))


@pytest.mark.long
async def test_an_erased_contributor_is_left_out_and_the_replacement_is_the_adapter_that_the_audit_had_made(
    client, around, base, datanet, tmp_path
):
    old = await published(client, base, **MEASURED)
    told = await report(client, old.name)
    assert (told.records, told.train_records) == (old.contributors[WHO.partition("/")[2]], old.metrics.train_records)
    assert told.counterfactual_stored
    assert told.counterfactual_sha256
    assert told.held_out_records == old.metrics.held_out_records
    assert told.HasField("predicted_rise")
    assert told.HasField("measured_rise")
    assert told.measured_error > 0
    assert not told.replacements

    for leaf in (1, 5):
        await erase(client, datanet, leaf)
    assert (await report(client, old.name)).erased_records == 2

    job = await replace(client, old.name, WHO)
    assert (job.adapter, job.replaces.revision, list(job.replaces.without)) == ("adapters/letters", old.name, [WHO])
    assert not job.spec.leave_one_out
    done = await finish(client, job.name)
    assert (done.status, done.message) == ("succeeded", "")
    new = await publish(client, job.name)
    assert new.files[WEIGHTS] == told.counterfactual_sha256
    assert new.index_root != old.index_root
    assert set(new.contributors) == {address(1), address(3), address(4)}
    assert (new.replaces.revision, list(new.replaces.without)) == (old.name, [WHO])
    assert new.state == pb.ADAPTER_REVISION_STATE_PUBLISHED, "nothing of whom is erased is in it"
    assert {"span_index.safetensors"} <= set(new.private_files)

    artifacts = ArtifactStore(around.config(tmp_path, base).artifacts_dir)
    lineage = manifest.parse(artifacts.get(new.name.rpartition("/")[2]))
    assert lineage.replaces == manifest.Replaces(old.name, (address(2),))
    assert "## Replaces" in artifacts.get(new.card).decode()
    [made] = (await report(client, old.name)).replacements
    assert (made.fine_tune, made.revision, made.same_as_counterfactual) == (job.name, new.name, True)

    file = (await client.call(client.factory.ExportFineTune, pb.ExportFineTuneRequest(name=job.name))).content
    request = pb.CreateFineTuneRequest(run_file=file, request_id=request_id())
    again = await finish(client, (await client.call(client.factory.CreateFineTune, request)).name)
    assert again.revision == new.name, "its run file is the whole run"

    await erase(client, datanet, 9)
    offered = await client.call(
        client.factory.ListAdapterRevisions, pb.ListAdapterRevisionsRequest(parent="adapters/-")
    )
    assert [revision.name for revision in offered.adapter_revisions] == [new.name]
    retired = await deprecate(client, old.name, new.name)
    assert (retired.replaced_by, retired.deprecation_reason) == (new.name, "a contributor left")


async def test_who_disputes_is_left_out_while_all_records_are_there(client, around, base):
    old = await published(client, base, held_out=0.2)
    told = await report(client, old.name)
    assert not told.counterfactual_stored
    assert not told.HasField("measured_rise")
    assert "did not ask for leave_one_out" in " ".join(told.words)
    job = await replace(client, old.name, WHO, SOMEBODY)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        assert not (await report(stranger, old.name)).replacements, "what is not published is its owner's matter"
    new = await publish(client, (await finish(client, job.name)).name)
    assert set(new.contributors) == {address(1), address(4)}
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        [made] = (await report(stranger, old.name)).replacements
        assert (made.fine_tune, made.revision) == ("", new.name)
    refusal = await refused(report(client, new.name), "NOT_TRAINED_ON", grpc.StatusCode.INVALID_ARGUMENT)
    assert new.name in refusal.message


async def test_a_record_of_somebody_who_stays_cannot_be_missing(client, base, datanet):
    old = await published(client, base, held_out=0.2)
    await erase(client, datanet, 2)
    done = await finish(client, (await replace(client, old.name, WHO)).name)
    assert (done.status, done.reason) == ("failed", "RECORD_ERASED")


async def test_what_cannot_be_replaced_is_told(client, around, base):
    old = await published(client, base)
    nobody = f"accounts/{address(99)}"
    assert nobody.partition("/")[2] in (await refused(
        replace(client, old.name, nobody), "CANNOT_REPLACE", PRECONDITION
    )).message  # fmt: skip
    everybody = [f"accounts/{address(number)}" for number in range(1, 5)]
    await refused(replace(client, old.name, *everybody), "CANNOT_REPLACE", PRECONDITION)
    await refused(replace(client, old.name, WHO, WHO), "CANNOT_REPLACE", PRECONDITION)
    unknown = "adapters/letters/revisions/" + "0" * 64
    await refused(replace(client, unknown, WHO), "REVISION_NOT_FOUND", NOT_FOUND)
    await refused(report(client, unknown), "REVISION_NOT_FOUND", NOT_FOUND)
    await refused(deprecate(client, old.name, unknown), "REVISION_NOT_FOUND", NOT_FOUND)
    await refused(deprecate(client, old.name, old.name), "BAD_REPLACEMENT", grpc.StatusCode.INVALID_ARGUMENT)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        await refused(replace(stranger, old.name, WHO), "REVISION_NOT_FOUND", NOT_FOUND)


async def test_a_replacement_is_changed_by_nobody(client, base):
    old = await published(client, base)
    job = await replace(client, old.name, WHO)
    changes = pb.FineTuneSpec(seed=5)
    clone = pb.CloneFineTuneRequest(name=job.name, changes=changes, request_id=request_id())
    await refused(client.call(client.factory.CloneFineTune, clone), "IS_REPLACEMENT", PRECONDITION)
    file = (await client.call(client.factory.ExportFineTune, pb.ExportFineTuneRequest(name=job.name))).content
    guess = client.call(client.factory.EstimateFineTune, pb.EstimateFineTuneRequest(run_file=file))
    await refused(guess, "IS_REPLACEMENT", PRECONDITION)
    other = pb.CreateFineTuneRequest(run_file=file.replace("rank: 4", "rank: 2"), request_id=request_id())
    refusal = await refused(client.call(client.factory.CreateFineTune, other), "CANNOT_REPLACE", PRECONDITION)
    assert "leave replaces out" in refusal.message
    elsewhere = pb.CreateFineTuneRequest(run_file=file, adapter_id="elsewhere", request_id=request_id())
    await refused(
        client.call(client.factory.CreateFineTune, elsewhere), "BAD_RUN_FILE", grpc.StatusCode.INVALID_ARGUMENT
    )
