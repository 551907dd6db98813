"""Runs as people handle them: estimated with a price, exported, imported, cloned, compared, found again."""

from __future__ import annotations

import json

import grpc
import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.client import request_id
from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import SECOND, SNAPSHOT, Datanet, offer, snapshot_records
from tests.integration.factory.conftest import (
    RECORDS,
    STRANGER,
    cancel,
    create,
    estimate,
    factory,
    finish,
    listed,
    publish,
    refused,
    spec,
)

INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def datanet():
    """Two versions of a datanet that have 30 records in common, 10 of their own each."""
    return Datanet(snapshot_records(RECORDS, 4), others={SECOND: snapshot_records(RECORDS, 4, start=10)})


async def export(client, name):
    return (await client.call(client.factory.ExportFineTune, pb.ExportFineTuneRequest(name=name))).content


async def create_from(client, text, **more):
    request = pb.CreateFineTuneRequest(run_file=text, request_id=request_id(), **more)
    return await client.call(client.factory.CreateFineTune, request)


async def clone(client, name, adapter_id="", **changes):
    request = pb.CloneFineTuneRequest(
        name=name, changes=pb.FineTuneSpec(**changes), adapter_id=adapter_id, request_id=request_id()
    )
    return await client.call(client.factory.CloneFineTune, request)


async def compare(client, *names):
    return await client.call(client.factory.CompareFineTunes, pb.CompareFineTunesRequest(names=names))


# --- several snapshots ------------------------------------------------------------------------------------------------


async def test_two_snapshots_are_tuned_on_together_and_a_common_record_counts_once(client, base, tmp_path, datanet):
    both = {"snapshots": [SECOND, SNAPSHOT], "held_out": 0}
    told = await estimate(client, base, **both)
    assert told.records == told.train_records == RECORDS + 10
    done = await finish(client, (await create(client, base, **both)).name)
    assert done.metrics.train_records == RECORDS + 10
    assert [(pin.name, pin.root) for pin in done.snapshot_pins] == [
        (SNAPSHOT, datanet.root),
        (SECOND, datanet.root_at(SECOND)),
    ]
    revision = await publish(client, done.name)
    assert list(revision.snapshots) == [SNAPSHOT, SECOND]
    lineage = manifest.parse(ArtifactStore(tmp_path / "artifacts").get(revision.name.rpartition("/")[2]))
    assert [snapshot.root for snapshot in lineage.snapshots] == [datanet.root, datanet.root_at(SECOND)]


async def test_the_order_of_snapshots_gives_no_other_adapter(client, base):
    made = [await create(client, base, snapshots=order) for order in ([SNAPSHOT, SECOND], [SECOND, SNAPSHOT])]
    done = [await finish(client, job.name) for job in made]
    assert done[0].revision == done[1].revision != ""


async def test_snapshots_that_hold_different_records_under_one_name_are_not_trained_on(around, base, tmp_path, datanet):
    names = [record.name for record in datanet.others[SECOND]]
    datanet.corrupt_name(SECOND, 3, names[4])
    datanet.corrupt_name(SECOND, 4, names[3])
    async with factory(around, tmp_path, base) as client:
        done = await finish(client, (await create(client, base, snapshots=[SNAPSHOT, SECOND])).name)
        assert (done.state, done.reason) == (pb.FINE_TUNE_STATE_FAILED, "RECORDS_DISAGREE")


@pytest.mark.parametrize(
    ("snapshots", "reason"),
    (([SNAPSHOT] * 2, "BAD_SPEC"), ([f"datanets/letters/snapshots/{i}" for i in range(17)], "INVALID_FIELD")),
)
async def test_a_snapshot_twice_and_too_many_are_refused(client, base, snapshots, reason):
    await refused(create(client, base, snapshots=snapshots), reason, INVALID)


# --- what it would take -----------------------------------------------------------------------------------------------


async def test_an_estimate_says_price_memory_licence_and_what_should_be_known(around, base, tmp_path):
    async with factory(around, tmp_path, base, price_per_1k_tokens=2500) as client:
        told = await estimate(client, base, held_out=0)
    assert told.counterfactual_tokens == 0
    assert int(told.price) == -(-told.train_tokens * 2500 // 1000)
    assert told.memory_bytes > 2**29
    assert told.steps == 2 * RECORDS // 8
    assert {"FEW_RECORDS", "NOT_MEASURED"} == {caution.code for caution in told.cautions}
    assert told.base_sha256
    assert told.snapshot_pins[0].root


async def test_who_asks_for_dora_is_told_what_will_not_serve_it(client, base):
    codes = [{caution.code for caution in (await estimate(client, base, dora=d)).cautions} for d in (True, False)]
    assert codes[0] - codes[1] == {"NOT_ON_VLLM"}


@pytest.mark.parametrize("field", ({"halves": 1}, {"halves": 3}))
async def test_what_no_run_here_obeys_is_refused_and_not_passed_over(client, base, field):
    await refused(estimate(client, base, **field), "UNSUPPORTED", INVALID)
    await refused(create(client, base, **field), "UNSUPPORTED", INVALID)


@pytest.mark.parametrize(
    ("licence", "use", "reason"),
    (
        ("CC-BY-ND-4.0", pb.USE_UNSPECIFIED, "LICENCE_FORBIDS_DERIVATIVES"),
        ("CC-BY-NC-4.0", pb.USE_COMMERCIAL, "LICENCE_NON_COMMERCIAL"),
        ("LicenseRef-Whatever", pb.USE_NON_COMMERCIAL, "LICENCE_UNKNOWN"),
        ("GPL-2.0-only", pb.USE_COMMERCIAL, "LICENCES_INCOMPATIBLE"),
    ),
)
async def test_data_whose_terms_do_not_allow_the_use_are_refused_with_counts(
    client, base, datanet, licence, use, reason
):
    datanet.licences[SECOND] = licence
    for verb in (estimate, create):
        error = await refused(verb(client, base, snapshots=[SNAPSHOT, SECOND], use=use), reason, PRECONDITION)
        assert error.metadata == {"Apache-2.0": "0", "CC-BY-4.0": str(RECORDS), licence: str(RECORDS)}
        assert f"{RECORDS} under {licence}" in error.message
    assert await listed(client) == []


async def test_non_commercial_data_make_a_non_commercial_model(client, base, datanet):
    datanet.licences[SNAPSHOT] = "CC-BY-NC-SA-4.0"
    done = await finish(client, (await create(client, base, use=pb.USE_NON_COMMERCIAL)).name)
    revision = await publish(client, done.name)
    assert (revision.licence, revision.use) == ("CC-BY-NC-SA-4.0", pb.USE_NON_COMMERCIAL)


async def test_an_operator_can_vouch_for_a_licence_of_ones_own(around, base, tmp_path, datanet):
    datanet.licences[SNAPSHOT] = "LicenseRef-Ours"
    said = {"LicenseRef-Ours": {"derivatives": True, "commercial": True, "share_alike": True}}
    async with factory(around, tmp_path, base, licences=said) as client:
        assert (await estimate(client, base)).licence == "LicenseRef-Ours"


# --- one file is the whole run ----------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_run_made_again_from_its_file_gives_the_same_adapter_anywhere(client, base, around, tmp_path):
    first = await finish(client, (await create(client, base, snapshots=[SNAPSHOT, SECOND], seed=7)).name)
    text = await export(client, first.name)
    assert dict((await estimate_file(client, text)).contributors)
    async with factory(around, tmp_path / "elsewhere", base) as other:
        made = await create_from(other, text)
        assert await export(other, made.name) == text
        assert (await finish(other, made.name)).revision == first.revision
    renamed = await create_from(client, text, adapter_id="others")
    assert renamed.adapter == "adapters/others"
    await cancel(client, renamed.name)


async def estimate_file(client, text):
    return await client.call(client.factory.EstimateFineTune, pb.EstimateFineTuneRequest(run_file=text))


async def test_a_run_file_is_only_good_for_what_it_pins(client, base, datanet):
    text = await export(client, (await create(client, base)).name)
    for old, reason in ((datanet.root, "SNAPSHOT_CHANGED"), (base_sha256(text), "BASE_CHANGED")):
        await refused(create_from(client, text.replace(old, "ab" * 32)), reason, PRECONDITION)
        await refused(estimate_file(client, text.replace(old, "ab" * 32)), reason, PRECONDITION)


def base_sha256(text):
    return text.partition("sha256: ")[2][:70].split()[0].strip("'\"")


@pytest.mark.parametrize("text", ("rank: 8", "[", "version: openledger.run.v1\nadapter: x"))
async def test_a_file_that_is_no_run_is_refused(client, text):
    await refused(create_from(client, text), "BAD_RUN_FILE", INVALID)


async def test_a_run_is_asked_for_in_one_way(client, base):
    both = pb.CreateFineTuneRequest(spec=spec(base), run_file="x", adapter_id="letters", request_id=request_id())
    neither = pb.CreateFineTuneRequest(adapter_id="letters", request_id=request_id())
    unnamed = pb.CreateFineTuneRequest(spec=spec(base), request_id=request_id())
    for request in (both, neither, unnamed):
        await refused(client.call(client.factory.CreateFineTune, request), "INVALID_FIELD", INVALID)


# --- clones and comparisons -------------------------------------------------------------------------------------------


async def test_a_clone_is_like_the_first_except_for_what_is_changed(client, base):
    first = await finish(client, (await create(client, base)).name)
    second = await clone(client, first.name, epochs=1, seed=5)
    assert (second.clone_of, second.spec.epochs, second.spec.seed) == (first.name, 1, 5)
    same = await clone(client, first.name, adapter_id="copies")
    done = [await finish(client, job.name) for job in (second, same)]
    assert done[0].state == done[1].state == pb.FINE_TUNE_STATE_SUCCEEDED
    assert (same.adapter, done[1].metrics.loss_after) == ("adapters/copies", first.metrics.loss_after)

    side_by_side = await compare(client, first.name, second.name)
    differences = {d.field: [json.loads(value) for value in d.values] for d in side_by_side.differences}
    assert differences == {"training.epochs": [2, 1], "training.seed": [0, 5]}
    assert [job.name for job in side_by_side.fine_tunes] == [first.name, second.name]
    for job, curve in zip(side_by_side.fine_tunes, side_by_side.curves, strict=True):
        assert curve.fine_tune == job.name
        assert [point.step for point in curve.points] == list(range(1, len(curve.points) + 1))
        assert all(point.HasField("train_loss") for point in curve.points)
        assert any(point.HasField("valid_loss") for point in curve.points)
    assert (await compare(client, first.name, same.name)).differences == []


async def test_only_two_to_eight_of_ones_own_are_compared(client, base, around):
    made = (await create(client, base)).name
    for names in ([made], [made, made]):
        await refused(compare(client, *names), "BAD_COMPARISON", INVALID)
    await refused(compare(client, *(f"fineTunes/{i}" for i in range(9))), "INVALID_FIELD", INVALID)
    await refused(compare(client, made, "fineTunes/other"), "FINE_TUNE_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        for call in (clone(stranger, made), export(stranger, made), compare(stranger, made, "fineTunes/x")):
            await refused(call, "FINE_TUNE_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_a_clone_that_cannot_be_is_refused(client, base):
    made = (await create(client, base)).name
    elsewhere = clone(client, made, snapshots=["datanets/x/snapshots/1"])
    await refused(elsewhere, "SNAPSHOT_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    await refused(clone(client, made, precision="float7"), "BAD_SPEC", INVALID)
    await refused(clone(client, made, rank=513), "INVALID_FIELD", INVALID)


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_fine_tunes_are_found_by_what_they_are(client, base):
    done = await finish(client, (await create(client, base)).name)
    waits = await create(client, base, epochs=40, use=pb.USE_NON_COMMERCIAL)
    await cancel(client, waits.name)

    async def found(text):
        request = pb.ListFineTunesRequest(filter=text)
        return [job.name for job in (await client.call(client.factory.ListFineTunes, request)).fine_tunes]

    assert await found('status = "succeeded"') == [done.name]
    assert await found('state = "CANCELLED" AND base = "tiny"') == [waits.name]
    assert await found('use = "non-commercial"') == [waits.name]
    assert await found(f'create_time < "{done.create_time.ToJsonString()}"') == []
    await refused(found("colour = red"), "BAD_FILTER", INVALID)


async def test_events_come_in_pages_from_the_newest_with_openais_words(client, base):
    done = await finish(client, (await create(client, base, seed=77)).name)
    events, token = [], ""
    while True:
        request = pb.ListFineTuneEventsRequest(parent=done.name, page_size=3, page_token=token)
        page = await client.call(client.factory.ListFineTuneEvents, request)
        events += page.events
        token = page.next_page_token
        if not token:
            break
    assert [event.sequence for event in events] == list(range(len(events), 0, -1))
    assert {event.type for event in events} == {"message", "metrics"}
    assert {event.level for event in events} == {"info"}
    assert (done.status, done.trained_tokens) == ("succeeded", done.metrics.train_tokens)
    assert done.start_time.ToDatetime() >= done.create_time.ToDatetime()
    assert not done.HasField("estimated_finish")


async def test_checkpoints_are_told_also_of_a_run_that_was_found_made(client, base):
    for adapter in ("letters", "copies"):
        asked = spec(base, evaluations=4, seed=99)
        request = pb.CreateFineTuneRequest(spec=asked, adapter_id=adapter, request_id=request_id())
        done = await finish(client, (await client.call(client.factory.CreateFineTune, request)).name)
        found = await checkpoints(client, done.name)
        steps = [checkpoint.step_number for checkpoint in found]
        assert len(steps) == 4
        assert steps == sorted(steps, reverse=True)
        assert found[0].name == f"{done.name}/checkpoints/{steps[0]}"
        assert found[0].metrics.valid_loss == pytest.approx(done.metrics.loss_after)
        assert all(checkpoint.metrics.train_loss > 0 for checkpoint in found)


async def checkpoints(client, name):
    """All of them, in pages of three."""
    request, found = pb.ListFineTuneCheckpointsRequest(parent=name, page_size=3), []
    while True:
        page = await client.call(client.factory.ListFineTuneCheckpoints, request)
        found += page.checkpoints
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_the_base_models_on_offer_are_told_with_what_is_wrong_with_them(around, base, base_folder, tmp_path):
    broken = tmp_path / "broken"
    offer(tmp_path / "bases.toml", tiny=base_folder, other=base_folder)
    file = tmp_path / "bases.toml"
    file.write_text(file.read_text().replace(f'[other]\nfolder = "{base_folder}"', f'[other]\nfolder = "{broken}"'))
    async with factory(around, tmp_path, "tiny", "other") as client:
        client._fixed_token = lambda: ""
        reply = await client.call(client.factory.ListBaseModels, pb.ListBaseModelsRequest())
    tiny, other = reply.base_models
    assert (tiny.name, tiny.base, tiny.licence, tiny.source) == ("baseModels/tiny", "tiny", "Apache-2.0", "folder")
    assert tiny.available
    assert not other.available
    assert "missing: config.json" in other.unavailable_reason
