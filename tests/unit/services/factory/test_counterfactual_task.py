"""The trainings again as their workers do them, in this process, with the real trainer on the tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from openledger import base_models
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import Adapter
from services.factory import counterfactual_task
from services.factory.audit import (
    FILE,
    FITTED,
    FITTED_INDEX,
    HALVES_INDEX,
    LEFT_OUT,
    LEFT_OUT_INDEX,
    PAID,
    SHUFFLED,
    Audit,
)
from services.factory.lineage import TRUNK
from services.factory.lines import FOLDER, line
from services.factory.progress import Diverged
from services.factory.run_shard import shard
from services.kit.executor import TaskContext
from tests.shard_bench import Bench
from tests.unit.services.factory.conftest import records


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("records"))


@pytest.fixture
def work(job, base, kept, monkeypatch):
    """A run's specification and shard."""
    monkeypatch.setenv(FOLDER, str(kept.root))

    def made(contributors=6, each=6, **changes):
        texts = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
        settings = {"base": str(base), "layers": 2, "epochs": 2, "held_out": 0.2, "leave_one_out": True, "halves": 10}
        spec = replace(job.spec, **(settings | texts | changes))
        data = b"".join(line(r.name, r.contributor, r.fields) for r in records(contributors, each))
        return spec, shard(replace(job, spec=spec, records=kept.put(data), base_sha256=base_models.sha256(str(base))))

    return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """What one test made the next one finds."""
    return Bench(tmp_path_factory.mktemp("outputs"))


def test_the_audit_tells_how_well_scores_agree_with_training_again(work, bench):
    spec, run = work()
    made = bench.all(run, spec)
    audit = Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes())
    judged = {one.scores: one for one in audit.agreement}
    assert list(judged) == [PAID, LEFT_OUT, FITTED, SHUFFLED]
    assert judged[PAID].leave_one_out.mean > 0.7
    assert judged[LEFT_OUT].halves.mean > 0.7
    assert judged[PAID].leave_one_out.mean > judged[SHUFFLED].leave_one_out.mean + 0.3
    assert (judged[PAID].halves.models, judged[FITTED].halves.models + audit.fitted) == (10, 10)
    assert audit.held_out == audit.judged == 7
    assert audit.repeat < 1e-3, "without leaving anybody out it is the run itself"
    assert audit.halves == tuple(made.fit.arguments["masks"])
    assert audit.training == file_sha256(bench.output(run) / "training.json")
    assert bench.done(made.fit)["words"] == audit.words


def test_vectors_of_models_without_somebody_are_what_the_shadows_predict(work, bench):
    spec, run = work()
    made = bench.all(run, spec)
    paid = ContributionIndex.open(bench.output(run) / "contribution_index.safetensors")
    for name, least in ((LEFT_OUT_INDEX, 0.8), (FITTED_INDEX, 0.2)):
        index = ContributionIndex.open(bench.output(made.fit) / name)
        assert index.header.contributors == paid.header.contributors
        assert (index.header.parameters, index.header.placebos) == (paid.header.parameters, 0)
        pairs = [(index.row(c).to_float(), paid.row(c).to_float()) for c in range(6)]
        alike = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]
        assert np.mean(alike) > least


def test_the_models_of_halves_can_be_had_from_the_adapter(work, bench):
    spec, run = work()
    made = bench.all(run, spec)
    index = ContributionIndex.open(bench.output(made.fit) / HALVES_INDEX)
    assert (index.header.contributors, index.header.placebos) == ((), len(made.fit.arguments["halves"]))
    served = Adapter.load(bench.output(run))
    whole = np.concatenate([served.tensors[each.name].numpy().ravel() for each in index.header.parameters])
    for number, digest in enumerate(made.fit.arguments["halves"]):
        theta = load_file(bench.root / digest / "retrained.safetensors")["theta"]
        had = whole - index.row(number).to_float()
        assert np.abs(had - theta).max() <= 0.02 * np.abs(whole - theta).max()


def test_what_is_named_is_what_is_written(work, bench):
    spec, run = work()
    made = bench.all(run, spec)
    output = bench.output(made.fit)
    assert bench.done(made.fit)["files"] == {name: file_sha256(output / name) for name in sorted(
        (FILE, LEFT_OUT_INDEX, FITTED_INDEX, HALVES_INDEX)
    )}  # fmt: skip


def test_the_same_run_gives_the_same_bytes(work, bench, tmp_path):
    spec, run = work()
    again = Bench(tmp_path)
    first, second = bench.all(run, spec), again.all(run, spec)
    assert bench.done(first.fit)["files"] == again.done(second.fit)["files"]


def test_activations_that_were_computed_once_give_the_models_that_each_would_give_itself(work, bench, tmp_path):
    spec, run = work()
    made = bench.all(run, spec)
    shared = load_file(bench.output(made.trunk) / TRUNK)
    assert len(shared) == 36, "training and held-out"
    alone = Bench(tmp_path)
    alone.done(made.retrainings[1])
    one, other = (load_file(each.output(made.retrainings[1]) / "retrained.safetensors") for each in (bench, alone))
    assert np.array_equal(one["theta"], other["theta"])
    assert np.array_equal(one["losses"], other["losses"])


def test_where_every_layer_is_adapted_there_is_no_trunk(work, bench):
    spec, run = work(layers=0, halves=0, epochs=1)
    made = bench.all(run, spec)
    assert made.trunk is None
    assert sorted(file.name for file in bench.output(made.fit).iterdir()) == [FILE, LEFT_OUT_INDEX]
    assert Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes()).repeat < 1e-3


def test_without_held_out_records_there_are_vectors_and_no_judgement(work, bench):
    spec, run = work(held_out=0.0, epochs=1)
    made = bench.all(run, spec)
    audit = Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes())
    assert "could not be judged: no record is held out" in audit.words
    assert (audit.held_out, audit.judged, audit.repeat) == (0, 0, None)
    assert {one.leave_one_out or one.halves for one in audit.agreement} == {None}
    assert ContributionIndex.open(bench.output(made.fit) / FITTED_INDEX).header.contributors == audit.contributors


def test_a_run_that_kept_its_best_step_is_trained_again_to_that_step(work, bench):
    spec, run = work(halves=0, patience=1, evaluations=6, epochs=6, learning_rate=0.05)
    made = bench.all(run, spec)
    audit = Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes())
    assert audit.steps == bench.done(run)["metrics"]["steps"] < 24
    assert audit.repeat < 0.05


def test_models_that_were_trained_on_four_bits_are_judged_on_the_base_that_is_served(work, bench):
    spec, run = work(halves=0, quantise="nf4", epochs=1)
    made = bench.all(run, spec)
    assert Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes()).repeat < 1e-3


def test_canaries_are_in_every_training_again(work, bench):
    spec, run = work(halves=0, canaries=2, epochs=1, contributors=2)
    made = bench.all(run, spec)
    assert bench.done(made.retrainings[0])["records"] == bench.done(run)["metrics"]["records"] + 2
    assert Audit.from_bytes((bench.output(made.fit) / FILE).read_bytes()).repeat < 1e-3


def test_two_contributors_have_vectors_and_are_too_few_to_judge(work, bench):
    spec, run = work(halves=0, canaries=2, epochs=1, contributors=2)
    made = bench.all(run, spec)
    assert "too few to put into an order" in bench.done(made.fit)["words"]
    assert (bench.output(made.fit) / LEFT_OUT_INDEX).exists()


def test_a_training_again_that_diverges_says_whose_it_is(work, bench, monkeypatch):
    spec, run = work()
    made = bench.all(run, spec)

    def diverge(*_):
        raise Diverged("the weights are no longer finite numbers: lower the learning rate")

    monkeypatch.setattr(counterfactual_task.Retraining, "trained", diverge)
    context = TaskContext(bench.root / "x", bench.root / "x", lambda _: None, bench.root.joinpath)
    for one, whom in ((made.retrainings[0], "leaving anybody out"), (made.retrainings[1], "0x0000"),
                      (made.retrainings[-1], "3 contributors")):  # fmt: skip
        with pytest.raises(Diverged, match=f"trained again without {whom}.*lower the learning rate; or ask for no"):
            counterfactual_task.retrain(dict(one.arguments), context)
