"""The frozen layers' activations of a fine-tune: computed once for all work on it, and deciding nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger import base_models
from openledger.artifacts import ArtifactStore
from services.factory import parts, passes, trunk_task
from services.factory.lineage import TRUNK
from services.factory.lines import FOLDER, line
from services.factory.private_task import private_files
from services.factory.progress import TrainingError
from services.factory.run_shard import shard
from services.factory.spec import FineTuneSpec
from services.factory.write import INDEX, MOMENT
from services.kit.executor import NotFinished, TaskContext
from tests.shard_bench import Bench
from tests.unit.services.factory.conftest import records
from tests.unit.services.factory.test_private_task import extra


@pytest.fixture
def run(job, base, tmp_path, monkeypatch):
    """A fine-tune's shard."""
    kept = ArtifactStore(tmp_path / "records")
    monkeypatch.setenv(FOLDER, str(kept.root))

    def made(**changes):
        texts = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
        settings = {"base": str(base), "layers": 2, "epochs": 1, "held_out": 0.2}
        spec = replace(job.spec, **(settings | texts | changes))
        data = kept.put(b"".join(line(r.name, r.contributor, r.fields) for r in records(4, 4)))
        return shard(replace(job, spec=spec, records=data, base_sha256=base_models.sha256(str(base))))

    return made


@pytest.fixture
def nothing_is_prepared(monkeypatch):
    def prepare(*_):
        raise AssertionError("computed again")

    return lambda: monkeypatch.setattr(passes.Trunk, "prepare", prepare)


def test_the_run_and_its_parts_are_the_same_bytes_with_it_and_without(run, tmp_path, nothing_is_prepared):
    one = run(contributors_at_once=2)
    alone, together = Bench(tmp_path / "alone"), Bench(tmp_path / "together")
    below = trunk_task.shard(one.arguments)
    assert together.done(below) == {"records": 16}
    expected = alone.done(one)
    steps, contributors = expected["metrics"]["steps"], len(expected["contributors"])
    plan = parts.plan(one, FineTuneSpec.from_json(one.arguments["spec"]), contributors, steps)
    for part in plan.parts:
        alone.done(part)
    nothing_is_prepared()
    assert together.done(one)["files"] == expected["files"]
    for part in plan.parts:
        together.done(part)
        one_way, other = ((bench.output(part) / INDEX).read_bytes() for bench in (alone, together))
        assert one_way == other


def test_sketches_are_the_same_bytes_with_it_and_without(run, tmp_path, monkeypatch):
    one = run()
    bench = Bench(tmp_path / "outputs")
    bench.done(trunk_task.shard(one.arguments))
    bench.done(one)
    assert (bench.output(one) / MOMENT).exists()
    arguments, prepared, prepare = {**one.arguments, **extra()}, [], passes.Trunk.prepare

    def counted(self, examples, *rest):
        prepared.extend(examples)
        prepare(self, examples, *rest)

    monkeypatch.setattr(passes.Trunk, "prepare", counted)

    def sketched(name, kept):
        def outputs(digest):
            if digest == "a run":
                return bench.output(one)
            if not kept:
                raise NotFinished(digest)
            return bench.root / digest

        for folder in (tmp_path / name, tmp_path / f"{name}.scratch"):
            folder.mkdir()
        context = TaskContext(tmp_path / name, tmp_path / f"{name}.scratch", lambda _: None, outputs)
        return private_files(dict(arguments), context)["files"]

    found = sketched("found", kept=True)
    assert (len(found), prepared) == (2, [])
    assert sketched("missed", kept=False) == found
    assert prepared


@pytest.mark.parametrize("changes", ({"precision": "bfloat16"}, {"quantise": "nf4"}))
def test_activations_of_a_base_in_fewer_bits_are_not_what_sketches_are_made_of(run, tmp_path, changes, monkeypatch):
    one = run(**changes)
    bench = Bench(tmp_path / "outputs")
    bench.done(trunk_task.shard(one.arguments))
    bench.done(one)
    monkeypatch.setattr(trunk_task, "found", lambda *_: pytest.fail("they were taken"))
    for folder in (tmp_path / "files", tmp_path / "scratch"):
        folder.mkdir()
    context = TaskContext(tmp_path / "files", tmp_path / "scratch", lambda _: None, lambda _: bench.output(one))
    assert len(private_files({**one.arguments, **extra()}, context)["files"]) == 2


def test_it_is_named_by_the_fine_tune_alone_and_is_none_where_no_layer_is_frozen(run):
    one = run()
    further = {**one.arguments, "run": one.digest(), "steps": 3, "without": ["0x" + "0a" * 20]}
    assert trunk_task.shard(further) == trunk_task.shard(one.arguments)
    other = one.arguments | {"records": "bb" * 32}
    assert trunk_task.shard(other) != trunk_task.shard(one.arguments)
    assert trunk_task.shard(run(layers=0).arguments) is None


def test_it_tells_how_far_the_whole_run_is(run, tmp_path):
    one, told = run(), []
    for folder in (tmp_path / "output", tmp_path / "scratch"):
        folder.mkdir()
    context = TaskContext(tmp_path / "output", tmp_path / "scratch", told.append, tmp_path.joinpath)
    trunk_task.trunk(dict(one.arguments), context)
    preparing = [said for said in told if said["phase"] == "preparing"]
    assert len(preparing) == 16
    assert all(said["seconds_left"] > 0 for said in preparing), "the training is still to come"
    assert preparing[0]["steps"] > 0
    assert (tmp_path / "output" / TRUNK).exists()


def test_what_cannot_be_trained_is_refused_before_anything_is_computed(run, tmp_path, nothing_is_prepared):
    nothing_is_prepared()
    with pytest.raises(TrainingError, match="has 4 layers, the specification asks for 40"):
        Bench(tmp_path / "outputs").done(trunk_task.shard(run(layers=40).arguments))
