"""Trainings again without some contributors, from the order to what is published, over real gRPC."""

from __future__ import annotations

import asyncio

import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2 as pb
from openledger.influence.index import ContributionIndex
from services.factory.audit import FILE, FITTED_INDEX, HALVES_INDEX, Audit
from services.factory.lineage import TRUNK
from tests.factory_world import Datanet, address, snapshot_records
from tests.integration.factory.conftest import cancel, create, estimate, factory, finish, get, publish, watch

AUDITED = {"halves": 4, "held_out": 0.2}
PLAIN = {"held_out": 0.2}
pytestmark = pytest.mark.timeout(600)


def counted(event):
    return event.message.startswith("training again without some contributors")


@pytest.mark.long
async def test_what_is_asked_for_is_told_trained_and_published(client, around, base, tmp_path, outputs):
    told = await estimate(client, base, **AUDITED)
    assert told.counterfactual_tokens == told.train_tokens * 2
    assert 0 < told.counterfactual_seconds < told.seconds
    assert {"TRAINED_AGAIN", "FEW_HALVES"} <= {caution.code for caution in told.cautions}

    plain = await finish(client, (await create(client, base, **PLAIN)).name)
    runs = set(outputs.iterdir())
    done = await finish(client, (await create(client, base, **AUDITED)).name)
    assert (done.state, done.message) == (pb.FINE_TUNE_STATE_SUCCEEDED, "")
    assert runs <= set(outputs.iterdir()), "the run is found, not made again"
    assert len(set(outputs.iterdir()) - runs) == 4 + 1, "trainings again, and the fit; activations are gone"
    assert not list(outputs.rglob(TRUNK))
    shown = [event for event in await watch(client, done.name) if counted(event)]
    assert shown[-1].message.endswith("4 of 4 done")
    assert (shown[-1].progress.step, shown[-1].progress.steps) == (4, 4)
    assert done.metrics.audit
    assert done.revision != plain.revision

    revision = await publish(client, done.name)
    artifacts = ArtifactStore(around.config(tmp_path, base).artifacts_dir)
    assert set(revision.files) - set((await publish(client, plain.name)).files) == {FILE, FITTED_INDEX, HALVES_INDEX}
    audit = Audit.from_bytes(artifacts.get(revision.files[FILE]))
    assert audit.words == done.metrics.audit
    assert audit.contributors == tuple(map(address, range(1, 5)))
    assert audit.training == revision.files["training.json"]
    index = ContributionIndex.open(artifacts.path(revision.files[FITTED_INDEX]))
    assert index.header.contributors == audit.contributors
    assert manifest.parse(artifacts.get(revision.name.rpartition("/")[2])).spec["halves"] == 4
    assert "## Audit" in artifacts.get(revision.card).decode()


@pytest.mark.long
async def test_cancelled_and_restarted_in_between_nothing_that_is_finished_is_made_again(
    around, base, tmp_path, outputs
):
    executor = tmp_path / "factory" / "executor"

    def finished():
        return {file: file.stat().st_mtime_ns for file in executor.glob("*/result.json")}

    def one_is_trained(event):
        return counted(event) and event.progress.step >= 1

    async with factory(around, tmp_path, base) as client:
        made = await create(client, base, **AUDITED)
        await watch(client, made.name, until=one_is_trained)
        await cancel(client, made.name)
        async with asyncio.timeout(60):
            while list(executor.rglob(TRUNK)) or list(executor.glob(".*")):
                await asyncio.sleep(0.05)
        assert (await get(client, made.name)).state == pb.FINE_TUNE_STATE_CANCELLED
        before = finished()
        assert 2 <= len(before) < 5, "the run, and some trainings again; activations are gone"
        again = await create(client, base, **AUDITED)
        await watch(client, again.name, until=one_is_trained)
    async with factory(around, tmp_path, base) as client:
        done = await finish(client, again.name)
    assert done.state == pb.FINE_TUNE_STATE_SUCCEEDED
    after = finished()
    assert {file: after[file] for file in before} == before
    async with factory(around, tmp_path / "undisturbed", base, executor_dir=outputs) as client:
        undisturbed = await finish(client, (await create(client, base, **AUDITED)).name)
    assert done.revision == undisturbed.revision


def finished(outputs):
    """What workers made; what has a dot before its name was not finished, and is being tidied away."""
    return {path.name for path in outputs.iterdir() if not path.name.startswith(".")}


class TestFewContributors:
    @pytest.fixture
    def datanet(self):
        return Datanet(snapshot_records(12, 3))

    async def test_halves_of_three_contributors_are_refused_before_training(self, client, base, outputs):
        assert "TOO_FEW_CONTRIBUTORS" in {c.code for c in (await estimate(client, base, halves=4)).cautions}
        before = finished(outputs)
        failed = await finish(client, (await create(client, base, halves=4)).name)
        assert (failed.state, failed.reason) == (pb.FINE_TUNE_STATE_FAILED, "TOO_FEW_CONTRIBUTORS")
        assert "at least 4 contributors, and there are 3" in failed.message
        assert finished(outputs) == before
