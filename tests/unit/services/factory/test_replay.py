"""A run taken again without somebody: the same steps, the same weights as the training again that the audit makes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from openledger import base_models
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.influence.quantize import NAT
from openledger.influence.score import scores
from services.factory import audit, effects, write
from services.factory.audit import Audit
from services.factory.effects import Effects
from services.factory.inputs import load
from services.factory.lines import FOLDER, line
from services.factory.replay import RecordsMissing, Replay, ReplayError
from services.factory.run import Replacement
from services.factory.run_shard import shard
from services.factory.schedule import Plan
from tests.factory_world import address
from tests.shard_bench import Bench
from tests.unit.services.factory.conftest import records

WEIGHTS = "adapter_model.safetensors"
WHO = f"0x{2:040x}"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("records"))


@pytest.fixture
def work(job, base, kept, monkeypatch):
    """A run's specification and shard; call it with whom a run is taken again without, and that run's training.json."""
    monkeypatch.setenv(FOLDER, str(kept.root))

    def made(without=(), training=b"", **changes):
        texts = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
        settings = {"base": str(base), "layers": 2, "epochs": 2, "held_out": 0.2, "leave_one_out": True}
        spec = replace(job.spec, **(settings | texts | changes))
        taken = Replay.of(training, without).records if training else None
        data = b"".join(
            line(r.name, r.contributor, r.fields) for r in records(5, 6) if taken is None or r.name in taken
        )
        again = Replacement("adapters/a/revisions/" + "0" * 64, kept.put(training), without) if training else None
        pinned = replace(job, spec=spec, records=kept.put(data), base_sha256=base_models.sha256(str(base)))
        return spec, shard(replace(pinned, replaces=again))

    return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("outputs"))


def taken_again(work, bench, without=(WHO,), **changes):
    """The run, all its trainings again, and the run taken again without somebody."""
    spec, run = work(**changes)
    made = bench.all(run, spec)
    training = (bench.output(run) / write.TRAINING).read_bytes()
    _, again = work(without, training, **changes)
    bench.done(again)
    return run, made, again


KINDS = {
    "plain": {},
    "parts of the curvature": {"curvature_share": 0.5, "clip_norm": 0.5},
    "all layers, canaries": {"layers": 0, "canaries": 2},
    "its best step": {"patience": 1, "evaluations": 6, "epochs": 6, "learning_rate": 0.05},
    "bfloat16": {"precision": "bfloat16"},
    "dora": {"dora": True},
    "four bits": {"quantise": "nf4"},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_the_replacement_is_the_stored_counterfactual_to_the_byte_and_needs_no_text_of_whom_it_is_without(
    work, bench, changes
):
    run, made, again = taken_again(work, bench, **changes)
    people = sorted(bench.done(run)["contributors"])
    stored = made.retrainings[1 + people.index(WHO)]
    assert stored.arguments["without"] == [WHO]
    result = bench.done(again)
    assert result["files"][WEIGHTS] == bench.done(stored)["adapter_sha256"]
    assert result["files"][WEIGHTS] == file_sha256(bench.output(again) / WEIGHTS)
    assert result["files"][WEIGHTS] != bench.done(run)["files"][WEIGHTS]
    assert set(result["contributors"]) == set(people) - {WHO}
    assert result["metrics"]["steps"] == bench.done(run)["metrics"]["steps"]


def test_everybody_again_is_the_run_itself(work, bench):
    run, made, _ = taken_again(work, bench)
    assert bench.done(made.retrainings[0])["adapter_sha256"] == bench.done(run)["files"][WEIGHTS]
    assert Audit.from_bytes((bench.output(made.fit) / audit.FILE).read_bytes()).repeat < 1e-5


def test_its_index_is_of_its_own_run(work, bench):
    run, _, again = taken_again(work, bench)
    old, new = (ContributionIndex.open(bench.output(one) / write.INDEX) for one in (run, again))
    assert set(new.header.contributors) == set(old.header.contributors) - {WHO}
    assert new.header.placebos == old.header.placebos
    row = {who: new.row(i).to_float() for i, who in enumerate(new.header.contributors)}
    was = {who: old.row(i).to_float() for i, who in enumerate(old.header.contributors)}
    assert all(not torch.equal(torch.tensor(row[who]), torch.tensor(was[who])) for who in row), "not the full run's"


def test_leaving_out_one_more_foretells_the_replacement_of_the_replacement(work, bench):
    """The index of a run in which records weigh 0 is worth what any other's is."""
    other = f"0x{3:040x}"
    run, _, again = taken_again(work, bench)
    first = (bench.output(again) / write.TRAINING).read_bytes()
    _, twice = work((other,), first)
    _, both = work((WHO, other), (bench.output(run) / write.TRAINING).read_bytes())
    assert bench.done(twice)["files"][WEIGHTS] == bench.done(both)["files"][WEIGHTS]
    one, two = (load_file(bench.output(each) / WEIGHTS) for each in (again, twice))
    index = ContributionIndex.open(bench.output(again) / write.INDEX)
    foretold = torch.tensor(index.row(index.header.contributors.index(other)).to_float())
    truth = torch.cat([(one[p.name] - two[p.name]).flatten() for p in index.header.parameters])
    assert float(torch.nn.functional.cosine_similarity(foretold.float(), truth, dim=0)) > 0.9


def test_effects_are_the_mean_scores_of_the_held_out_records_and_the_audit_says_what_came_true(work, bench):
    run, made, _ = taken_again(work, bench)
    told = Effects.from_bytes((bench.output(run) / effects.FILE).read_bytes())
    given = load(dict(run.arguments))
    held_out = given.split()[1]
    scorer, index = Scorer(given.base), ContributionIndex.open(bench.output(run) / write.INDEX)
    answers = [scorer.answer(bench.output(run), asked.prompt, asked.completion) for asked in held_out]
    for who in index.header.contributors:
        mean = sum(scores(answer.gradient, index).contributors[who] for answer in answers) / len(answers) / NAT
        assert told.rises[who] == pytest.approx(mean, rel=0.02, abs=1e-4)
    assert told.held_out == len(held_out)
    judged = Audit.from_bytes((bench.output(made.fit) / audit.FILE).read_bytes())
    measured = {who: rise.mean for who, rise in zip(judged.contributors, judged.rises, strict=True)}
    assert max(measured, key=measured.get) == max(told.rises, key=told.rises.get)
    assert all(rise.error > 0 for rise in judged.rises)


TRAINING = {
    "version": "openledger.training.v1",
    "records": [["r1", address(1)], ["r2", address(2)], ["r3", address(1)], ["c0", ""]],
    "held_out": [["h1", address(1)], ["h2", address(2)]],
    "batches": [[3, 0], [1, 2]],
    "losses": [1.0, 2.0],
    "kept_step": 2,
    "evaluations": [],
}


def document(**changes):
    return json.dumps(TRAINING | changes).encode()


def test_places_are_counted_among_those_that_are_left():
    found = Replay.of(document(), [address(1)])
    assert found.training == (("r2", address(2)), ("c0", ""))
    assert found.held_out == (("h2", address(2)),)
    assert found.plan == Plan([[1], [0]], [2, 2])
    assert (found.records, found.steps, found.left_out) == ({"r2", "h2"}, 2, 2)
    assert Replay.of(document(sizes=[5, 4]), [address(1)]).plan.sizes == [5, 4], "of a replacement that is replaced"


@pytest.mark.parametrize(
    ("data", "without", "said"),
    (
        (b"{", [address(1)], "cannot be read"),
        (b"[]", [address(1)], "cannot be read"),
        (document(version="openledger.training.v9"), [address(1)], "another version"),
        (document(records=[["r1"]]), [address(1)], "cannot be read"),
        (document(batches=None), [address(1)], "cannot be read"),
        (document(), [address(7)], f"{address(7)} is not among those"),
        (document(), [address(1), address(2)], "nobody would be left"),
    ),
)
def test_what_cannot_be_taken_again(data, without, said):
    with pytest.raises(ReplayError, match=said):
        Replay.of(data, without)


def test_a_record_that_went_and_is_not_left_out_is_told(work, bench, kept):
    _, run = work()
    bench.done(run)
    _, again = work((WHO,), (bench.output(run) / write.TRAINING).read_bytes())
    lines = kept.get(again.arguments["records"]).splitlines(keepends=True)
    given = load(dict(again.arguments) | {"records": kept.put(b"".join(lines[1:]))})
    with pytest.raises(RecordsMissing, match=r"are not there any more: .*, of 1; leave their contributors out as well"):
        given.split()
