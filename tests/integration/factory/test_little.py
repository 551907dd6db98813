"""The least that can be tuned on, and a base model that is not what it was."""

from __future__ import annotations

import grpc
import pytest

from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import Datanet, address, snapshot_records
from tests.integration.factory.conftest import create, estimate, finish, publish, refused


@pytest.fixture
def datanet(request):
    """So many records of so many contributors."""
    return Datanet(snapshot_records(*request.param))


def codes(told):
    return {caution.code for caution in told.cautions}


@pytest.mark.parametrize("datanet", ((12, 1),), indirect=True)
async def test_one_contributor_gets_everything_and_that_is_said_before(client, base, datanet):
    told = await estimate(client, base)
    assert "ONE_CONTRIBUTOR" in codes(told)
    assert list(told.contributors) == [address(1)]
    done = await finish(client, (await create(client, base)).name)
    assert done.state == pb.FINE_TUNE_STATE_SUCCEEDED
    assert dict((await publish(client, done.name)).contributors) == {address(1): done.metrics.train_records}


@pytest.mark.parametrize("datanet", ((1, 1),), indirect=True)
async def test_one_record_can_be_tuned_on_and_nothing_is_held_out(client, base, datanet):
    told = await estimate(client, base)
    assert (told.train_records, told.held_out_records) == (1, 0)
    assert {"FEW_RECORDS", "ONE_CONTRIBUTOR", "NOT_MEASURED"} <= codes(told)
    done = await finish(client, (await create(client, base)).name)
    assert (done.state, done.metrics.train_records) == (pb.FINE_TUNE_STATE_SUCCEEDED, 1)
    assert (done.metrics.loss_before, done.metrics.loss_after) == (0, 0)
    assert (await publish(client, done.name)).name == done.revision


@pytest.mark.parametrize("datanet", ((9, 2),), indirect=True)
async def test_records_of_which_none_can_be_used_fail_with_the_first_reason(client, base, datanet):
    told = await estimate(client, base, max_length=16)
    assert (told.train_records, told.dropped["TOO_LONG"]) == (0, 9)
    assert "at most 16 fit" in told.dropped_records[0].reason
    done = await finish(client, (await create(client, base, max_length=16)).name)
    assert (done.state, done.reason) == (pb.FINE_TUNE_STATE_FAILED, "NO_USABLE_RECORDS")
    assert "at most 16 fit" in done.message


@pytest.mark.parametrize("datanet", ((9, 2),), indirect=True)
async def test_a_base_with_another_hash_than_the_registrys_is_refused(client, base, tmp_path, datanet):
    file = tmp_path / "bases.toml"
    file.write_text(file.read_text().replace('sha256 = "', 'sha256 = "' + "0" * 64 + '" # "'))
    for verb in (estimate, create):
        error = await refused(verb(client, base), "BASE_UNAVAILABLE", grpc.StatusCode.FAILED_PRECONDITION)
        assert "the registry says 0000" in error.message
