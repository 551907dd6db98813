"""A fine-tune that follows its contributors in parts, from the order to what is published, over real gRPC."""

from __future__ import annotations

import numpy as np
import pytest

from openledger.artifacts import ArtifactStore
from openledger.factory.v1 import factory_pb2 as pb
from openledger.influence.index import ContributionIndex
from tests.factory_world import address
from tests.integration.factory.conftest import create, estimate, finish, publish, watch

IN_PARTS = {"contributors_at_once": 3, "held_out": 0.2}
INDEX = "contribution_index.safetensors"
pytestmark = pytest.mark.timeout(600)


@pytest.mark.long
async def test_parts_are_told_trained_and_published_as_one_index(client, around, base, tmp_path, outputs):
    told = await estimate(client, base, **IN_PARTS)
    assert told.parts == 2
    assert 0 < told.parts_seconds < told.seconds
    assert "IN_PARTS" in {caution.code for caution in told.cautions}

    plain = await finish(client, (await create(client, base, **IN_PARTS | {"contributors_at_once": 4})).name)
    runs = set(outputs.iterdir())
    done = await finish(client, (await create(client, base, **IN_PARTS)).name)
    assert (done.state, done.message) == (pb.FINE_TUNE_STATE_SUCCEEDED, "")
    assert len(set(outputs.iterdir()) - runs) == 2, "the run, and all in one; the part's rows are kept once"
    shown = [event for event in await watch(client, done.name) if event.message.startswith("following contributors")]
    assert shown[-1].message.endswith("2 of 2 parts done")
    assert (shown[-1].progress.step, shown[-1].progress.steps) == (2, 2)

    artifacts = ArtifactStore(around.config(tmp_path, base).artifacts_dir)
    revision, other = await publish(client, done.name), await publish(client, plain.name)
    assert set(revision.files) == set(other.files)
    assert {name for name in revision.files if revision.files[name] != other.files[name]} <= {INDEX}
    index, whole = (ContributionIndex.open(artifacts.path(one.files[INDEX])) for one in (revision, other))
    assert index.header == whole.header
    assert index.header.contributors == tuple(map(address, range(1, 5)))
    assert int(np.abs(index.vectors.astype(int) - whole.vectors).max()) <= 1
    request = pb.GetFineTuneEvaluationRequest(name=f"{done.name}/evaluation")
    evaluation = await client.call(client.factory.GetFineTuneEvaluation, request)
    assert set(evaluation.pictures) == {"training.png", "contributors.png"}
    assert '"samples"' in evaluation.report
