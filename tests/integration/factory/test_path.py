"""From a snapshot to a published adapter: what a model builder does when nothing goes wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from openledger import adapters, canonical
from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import SNAPSHOT, address
from tests.integration.factory.conftest import (
    CONTRIBUTORS,
    OWNER,
    RECORDS,
    STRANGER,
    create,
    estimate,
    finish,
    get,
    listed,
    publish,
    refused,
    watch,
)


async def test_from_a_snapshot_to_a_published_adapter_that_peft_loads(alone, base, base_folder, tmp_path, datanet):
    made = await create(alone, base)
    assert made.state == pb.FINE_TUNE_STATE_QUEUED
    assert made.spec.alpha == 16, "defaults are filled in"
    events = await watch(alone, made.name)
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    states = [e.state for e in events]
    assert states == sorted(states)
    assert states[-1] == pb.FINE_TUNE_STATE_SUCCEEDED
    assert any(e.progress.step == e.progress.steps > 0 for e in events)

    done = await get(alone, made.name)
    assert done.metrics.train_records + done.metrics.held_out_records == RECORDS
    assert done.metrics.contributors == CONTRIBUTORS
    assert done.metrics.loss_after < done.metrics.loss_before
    revision = await publish(alone, made.name)
    assert revision.name == done.revision
    assert sum(revision.contributors.values()) == done.metrics.train_records
    assert set(revision.contributors) == {address(i) for i in range(1, CONTRIBUTORS + 1)}

    store = ArtifactStore(tmp_path / "artifacts")
    digest = revision.name.rpartition("/")[2]
    manifest = adapters.read_manifest(store, digest)
    assert canonical.sha256(manifest.to_bytes()) == digest
    assert manifest.owner == OWNER.address
    assert [(s.name, s.root) for s in manifest.snapshots] == [(SNAPSHOT, datanet.root)]
    assert dict(revision.files) == dict(manifest.files)
    assert all(store.has(file) for file in manifest.files.values())
    assert (manifest.licence, manifest.signer) == (revision.licence, revision.signer)
    assert revision.state == pb.ADAPTER_REVISION_STATE_PUBLISHED
    _changes_what_the_base_says(base_folder, adapters.materialise(store, digest, tmp_path / "loaded"))


def _changes_what_the_base_says(base: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        alone = model(ids).logits
        tuned = PeftModel.from_pretrained(model, folder)(ids).logits
    assert not torch.allclose(alone, tuned)


async def test_published_revisions_can_be_found_by_anybody(client, base, around):
    made = [await finish(client, (await create(client, base, seed=seed)).name) for seed in (1, 2)]
    names = [(await publish(client, done.name)).name for done in made]
    async with around.issuer.client(STRANGER, factory=client.endpoints.factory) as anybody:
        anybody._fixed_token = lambda: ""
        found = await anybody.call(anybody.factory.GetAdapterRevision, pb.GetAdapterRevisionRequest(name=names[0]))
        assert found.name == names[0]
        for parent in ("adapters/letters", "adapters/-"):
            request = pb.ListAdapterRevisionsRequest(parent=parent, page_size=1)
            page = await anybody.call(anybody.factory.ListAdapterRevisions, request)
            assert [r.name for r in page.adapter_revisions] == [names[1]]
            request.page_token = page.next_page_token
            page = await anybody.call(anybody.factory.ListAdapterRevisions, request)
            assert [r.name for r in page.adapter_revisions] == [names[0]]
            assert page.next_page_token == ""
        unknown = pb.GetAdapterRevisionRequest(name="adapters/letters/revisions/" + "0" * 64)
        call = anybody.call(anybody.factory.GetAdapterRevision, unknown)
        await refused(call, "REVISION_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_publishing_again_gives_the_same_revision(client, base):
    done = await finish(client, (await create(client, base)).name)
    first, again = [await publish(client, done.name) for _ in range(2)]
    for revision in (first, again):
        revision.ClearField("registration")  # gets on chain by itself, between the two or after them
    assert first == again


async def test_two_fine_tunes_at_once_are_done_one_after_the_other(client, base):
    made = [await create(client, base, seed=seed) for seed in (1, 2)]
    first, second = await asyncio.gather(*(finish(client, job.name) for job in made))
    assert first.state == second.state == pb.FINE_TUNE_STATE_SUCCEEDED
    assert first.revision != second.revision
    began = next(e for e in await watch(client, made[1].name) if e.state == pb.FINE_TUNE_STATE_READING)
    assert began.time.ToDatetime() >= first.end_time.ToDatetime()
    assert [job.name for job in await listed(client)] == [made[1].name, made[0].name]


async def test_watching_goes_on_after_the_last_event_seen(client, base):
    made = await create(client, base)
    whole = await watch(client, made.name)
    assert await watch(client, made.name, after=2) == whole[2:]
    assert await watch(client, made.name, after=2**64 - 1) == []


async def test_an_estimate_counts_what_training_then_uses(client, base):
    before = await estimate(client, base, max_length=41)
    done = await finish(client, (await create(client, base, max_length=41)).name)
    after = await estimate(client, base, max_length=41)
    assert before.records == RECORDS
    assert before.licence == done.licence == "Apache-2.0 AND CC-BY-4.0"
    assert dict(before.licences) == {"CC-BY-4.0": RECORDS}
    assert [(due.source, due.notice) for due in before.attributions] == [
        ("baseModels/tiny", ""),
        (SNAPSHOT, "ask Anne"),
    ]
    assert dict(before.dropped) == dict(done.metrics.dropped) == {"TOO_LONG": RECORDS - 10}
    assert before.train_tokens == done.metrics.train_tokens > 0
    assert sum(before.contributors.values()) == done.metrics.train_records
    assert after.seconds == pytest.approx(done.metrics.seconds)
