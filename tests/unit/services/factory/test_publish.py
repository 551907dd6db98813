from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from openledger import canonical, manifest
from openledger.artifacts import ArtifactStore
from services.factory.lineage import lineage, measured
from services.factory.model import State
from services.factory.publish import put_artifacts
from services.kit.errors import Fault
from tests.factory_world import address


def result(folder):
    """A worker's result with files on disk."""
    folder.mkdir()
    for name in manifest.FILES:
        (folder / name).write_bytes(f"the bytes of {name}".encode())
    return {
        "records": 10,
        "files": {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in manifest.FILES},
        "index_root": "cc" * 32,
        "contributors": {address(1): 6, address(2): 3},
        "metrics": {"records": 9, "records_held_out": 1, "tokens": 300, "loss_before": 2.5, "loss_after": 1.5},
        "dropped": {"TOO_LONG": 1},
        "seconds": 12.5,
    }


@pytest.fixture
def done(job, tmp_path):
    trained = result(tmp_path / "output")
    made = lineage(job, trained)
    return replace(
        job,
        state=State.SUCCEEDED,
        manifest=made.to_bytes(),
        revision=made.revision,
        metrics=measured(trained),
        output=str(tmp_path / "output"),
    )


@pytest.fixture
def artifacts(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


async def test_files_and_manifest_are_artifacts_under_their_digests(done, artifacts):
    revision = await put_artifacts(done, artifacts)
    document = manifest.parse(artifacts.get(revision.name.rpartition("/")[2]))
    assert document.contributors == {address(1): 6, address(2): 3}
    for name, digest in document.files.items():
        assert artifacts.get(digest) == f"the bytes of {name}".encode()


async def test_once_published_the_trained_files_are_not_needed_any_more(done, artifacts, tmp_path):
    first = await put_artifacts(done, artifacts)
    for name in manifest.FILES:
        (tmp_path / "output" / name).unlink()
    assert (await put_artifacts(done, artifacts)).name == first.name


@pytest.mark.parametrize("harm", ("changed", "missing"))
async def test_files_that_are_not_what_was_trained_are_not_published(done, artifacts, tmp_path, harm):
    file = tmp_path / "output" / "adapter_model.safetensors"
    file.unlink()
    if harm == "changed":
        file.write_bytes(b"other bytes")
    with pytest.raises(Fault) as fault:
        await put_artifacts(done, artifacts)
    assert fault.value.reason == "ADAPTER_LOST"
    assert not artifacts.has(canonical.sha256(b"other bytes"))
    assert not artifacts.has(done.revision.rpartition("/")[2]), "the manifest comes last"


@pytest.mark.parametrize("state", [s for s in State if s is not State.SUCCEEDED])
async def test_only_what_succeeded_is_published(job, artifacts, state):
    with pytest.raises(Fault) as fault:
        await put_artifacts(replace(job, state=state), artifacts)
    assert fault.value.reason == "NOT_SUCCEEDED"


def test_the_revision_is_named_by_everything_that_made_it(job, tmp_path):
    trained = result(tmp_path / "output")
    names = {
        lineage(changed, trained).revision
        for changed in (
            job,
            replace(job, snapshot_root="dd" * 32),
            replace(job, base_sha256="dd" * 32),
            replace(job, owner=address(9)),
            replace(job, spec=replace(job.spec, seed=9)),
        )
    }
    assert len(names) == 5


def test_the_revision_is_not_named_by_when_and_where(job, tmp_path):
    trained = result(tmp_path / "output")
    elsewhere = replace(job, id="two", threads=job.threads, attempts=2, output="/elsewhere")
    assert lineage(elsewhere, trained | {"seconds": 99.0}).revision == lineage(job, trained).revision
