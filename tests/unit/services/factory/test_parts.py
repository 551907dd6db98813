"""A training in parts gives what one training of all gives, with the real trainer on the tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from openledger import base_models
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence import index
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.influence.score import scores
from services.factory import checkpoint, effects, parts, parts_task
from services.factory.effects import Effects
from services.factory.inputs import load
from services.factory.lines import FOLDER, line
from services.factory.parts_task import WeightsDiffer
from services.factory.run_shard import shard
from services.factory.task import PUBLISHED
from services.factory.train import Scratch, advance
from services.factory.training_run import TrainingRun, load_base
from services.factory.write import INDEX
from services.kit.executor import Shard, TaskContext
from tests.shard_bench import Bench
from tests.unit.services.factory.conftest import records, spec

PEOPLE = [f"0x{i:040x}" for i in range(8)]


def test_parts_are_neighbours_and_nobody_is_in_two():
    settings = spec(contributors_at_once=3)
    shuffled = PEOPLE[5:] + PEOPLE[:5]
    found = [parts.members(settings, shuffled, part) for part in range(parts.count(settings, 8))]
    assert found == [PEOPLE[:3], PEOPLE[3:6], PEOPLE[6:]]
    assert [parts.count(settings, people) for people in (0, 1, 3, 4, 6, 7)] == [1, 1, 1, 2, 2, 3]


def test_a_plan_names_everything_that_decides_a_part():
    run, settings = Shard("services.factory.task:fine_tune", {"records": "aa"}), spec(contributors_at_once=3)
    assert parts.plan(run, settings, 3, 9).parts == ()
    plan = parts.plan(run, settings, 8, 9)
    assert [one.arguments["part"] for one in plan.parts] == [1, 2]
    assert plan.join.arguments == {"run": run.digest(), "parts": [one.digest() for one in plan.parts]}
    other = parts.plan(run, settings, 8, 8)
    assert not {one.digest() for one in plan.parts} & {one.digest() for one in other.parts}
    assert plan.join.digest() != other.join.digest()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("records"))


@pytest.fixture
def work(job, base, kept, monkeypatch):
    """A run's specification and shard: 8 contributors with 4 records each."""
    monkeypatch.setenv(FOLDER, str(kept.root))

    def made(**changes):
        texts = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
        settings = {"base": str(base), "layers": 2, "epochs": 2, "held_out": 0.2, "curvature_share": 0.5}
        wanted = replace(job.spec, **(settings | texts | {"contributors_at_once": 3} | changes))
        data = b"".join(line(r.name, r.contributor, r.fields) for r in records(8, 4))
        return wanted, shard(
            replace(job, spec=wanted, records=kept.put(data), base_sha256=base_models.sha256(str(base)))
        )

    return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """What one test made the next one finds."""
    return Bench(tmp_path_factory.mktemp("outputs"))


def all_parts(bench, settings, run):
    done = bench.done(run)
    plan = parts.plan(run, settings, len(done["contributors"]), done["metrics"]["steps"])
    for one in (*plan.parts, plan.join):
        bench.done(one)
    return plan


@pytest.mark.parametrize("change", ({}, {"clip_norm": 0.5}, {"dora": True}), ids=("plain", "clipped", "dora"))
def test_parts_give_the_vectors_and_the_scores_of_one_training(work, bench, change):
    _, alone = work(contributors_at_once=8, **change)
    settings, run = work(**change)
    bench.done(alone)
    plan = all_parts(bench, settings, run)
    assert len(plan.parts) == 2
    whole, joined = (ContributionIndex.open(bench.output(one) / INDEX) for one in (alone, plan.join))
    assert joined.header == whole.header
    assert (len(joined.header.contributors), joined.header.placebos) == (8, 2)
    for row in range(joined.header.rows):
        one, other = joined.row(row), whole.row(row)
        assert np.array_equal(one.exponents, other.exponents)
        differ = np.abs(one.mantissas.astype(int) - other.mantissas)
        assert differ.max() <= 1, "rounding of matrix products"
        assert (differ > 0).mean() < 1e-2
    given = load(dict(run.arguments))
    asked = given.split()[1][0]
    answer = Scorer(given.base).answer(bench.output(plan.join), asked.prompt, asked.completion)
    ours, theirs = (scores(answer.gradient, each).contributors for each in (joined, whole))
    largest = max(abs(score) for score in theirs.values())
    assert all(abs(ours[who] - theirs[who]) < 1e-3 * largest for who in theirs)


def test_the_adapter_is_the_same_file_and_all_else_of_the_run_is_there(work, bench):
    settings, run = work()
    _, alone = work(contributors_at_once=8)
    plan = all_parts(bench, settings, run)
    output = bench.output(plan.join)
    one = bench.done(alone)["files"]
    for name in set(PUBLISHED) - {INDEX, effects.FILE}:
        assert file_sha256(output / name) == bench.done(run)["files"][name] == one[name]
    folders = (bench.output(alone), output)
    whole, joined = (Effects.from_bytes((folder / effects.FILE).read_bytes()) for folder in folders)
    assert joined.held_out == whole.held_out > 0
    assert joined.rises == pytest.approx(whole.rises, rel=1e-2, abs=1e-6)
    assert {"evaluation_private.json", "training.png", "contributors.png"} <= {file.name for file in output.iterdir()}
    assert bench.done(plan.join) == {
        "index_root": index.root(ContributionIndex.open(output / INDEX)).hex(),
        "files": {name: file_sha256(output / name) for name in (INDEX, effects.FILE)},
    }


def test_the_same_run_gives_the_same_bytes(work, bench, tmp_path):
    settings, run = work()
    again = Bench(tmp_path)
    first, second = all_parts(bench, settings, run), all_parts(again, settings, run)
    assert first == second
    assert bench.done(first.join) == again.done(second.join)


def test_a_run_that_kept_its_best_step_is_followed_to_that_step(work, bench):
    settings, run = work(patience=1, evaluations=6, epochs=6, learning_rate=0.05)
    assert bench.done(run)["metrics"]["steps"] < 6 * 3, "and not at the end of six epochs of three batches or more"
    plan = all_parts(bench, settings, run)
    assert ContributionIndex.open(bench.output(plan.join) / INDEX).header.contributors == tuple(PEOPLE)


def test_canaries_are_in_every_part(work, bench):
    settings, run = work(canaries=2, epochs=1)
    plan = all_parts(bench, settings, run)
    assert ContributionIndex.open(bench.output(plan.join) / INDEX).header.contributors == tuple(PEOPLE)


def followed(run, part):
    given = load(dict(run.arguments))
    return TrainingRun(given.spec, load_base(given.spec, given.base), given.split()[0], part)


def test_a_part_that_was_killed_goes_on_from_its_checkpoint_with_the_same_bytes(work, bench, tmp_path, monkeypatch):
    settings, run = work()
    plan = all_parts(bench, settings, run)
    started = followed(run, 1)
    advance(started, 3, Scratch(tmp_path, 0.0), None)
    assert checkpoint.load(tmp_path)[1]["steps"] == 3
    resumed = followed(run, 1)
    counted, step = [], TrainingRun.step
    monkeypatch.setattr(TrainingRun, "step", lambda self: counted.append(self.done) or step(self))
    advance(resumed, plan.parts[0].arguments["steps"], Scratch(tmp_path, 0.0), None)
    assert counted == list(range(3, len(resumed.plan)))
    (tmp_path / "out").mkdir()
    parts_task.write.index_file(tmp_path / "out", resumed)
    assert (tmp_path / "out" / INDEX).read_bytes() == (bench.output(plan.parts[0]) / INDEX).read_bytes()


def test_a_part_follows_its_own_and_no_placebo(work):
    _, run = work()
    first, last = followed(run, 0), followed(run, 2)
    assert (list(first.row), first.shadows.shadows) == (PEOPLE[:3], 5)
    assert (list(last.row), last.shadows.shadows) == (PEOPLE[6:], 2)
    assert first.placebos == last.placebos, "what curvature is estimated on is the same in all parts"


def test_other_weights_than_the_runs_are_told(work, bench, tmp_path, monkeypatch):
    settings, run = work()
    one = all_parts(bench, settings, run).parts[1]

    def elsewhere(training, *_):
        training.theta.copy_(torch.nextafter(training.theta, torch.tensor(9.0)))

    monkeypatch.setattr(parts_task, "advance", elsewhere)
    context = TaskContext(tmp_path, tmp_path, lambda _: None, bench.root.joinpath)
    with pytest.raises(WeightsDiffer, match=r"part 3 of 3 .* contributors_at_once to 8 or more"):
        parts_task.follow(dict(one.arguments), context)
    assert list(tmp_path.iterdir()) == []
