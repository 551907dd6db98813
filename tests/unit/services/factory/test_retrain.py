from __future__ import annotations

from dataclasses import replace

import pytest

from services.factory import retrain as again
from services.factory.counterfactual_plan import TooFewContributors
from services.factory.lines import line
from services.factory.retrain import contributors, foretold, retrain
from services.factory.spec import FineTuneSpec
from services.kit.executor import Done, Shard

RUN = Shard("services.factory.task:fine_tune", {"spec": FineTuneSpec().to_json(), "records": "aa" * 32})
SPEC = FineTuneSpec(leave_one_out=True)
PEOPLE = {f"0x{i:040x}": 3 for i in range(4)}


class Executor:
    """Finishes everything at once."""

    def __init__(self, folder):
        self.folder, self.made, self.ran = folder, {}, []

    async def run(self, shard, report):
        self.made.setdefault(shard.digest(), shard)
        self.ran.append(shard.task.partition(":")[2])
        return Done(self.folder, {"task": shard.task.partition(":")[2]})

    async def remove(self, shard):
        self.made.pop(shard.digest(), None)

    async def find(self, shard):
        return Done(self.folder, {"task": "found"}) if shard.digest() in self.made else None


@pytest.fixture
def executor(tmp_path):
    return Executor(tmp_path)


def trained(folder, people=PEOPLE):
    return Done(folder, {"contributors": people, "metrics": {"steps": 9}})


async def test_everything_is_made_once_and_counted(executor, tmp_path):
    told = []
    done = await retrain(executor, RUN, SPEC, trained(tmp_path), told.append, 2)
    assert done.result == {"task": "fit"}
    assert executor.ran == ["trunk", *["retrain"] * 5, "fit"]
    assert [(said["step"], said["steps"]) for said in told] == [(0, 5), *((k, 5) for k in range(6)), (5, 5)]
    assert told[3]["phase"] == "training again without some contributors: 2 of 5 done"
    assert told[3]["seconds_left"] >= 0
    assert told[1]["seconds_left"] is None


async def test_what_is_fitted_is_found_without_its_trunk(executor, tmp_path):
    await retrain(executor, RUN, SPEC, trained(tmp_path), lambda _: None, 1)
    executor.ran, told = [], []
    assert (await retrain(executor, RUN, SPEC, trained(tmp_path), told.append, 1)).result == {"task": "found"}
    assert (executor.ran, told) == ([], [])


def test_time_is_judged_by_what_is_made_now(monkeypatch):
    clock = iter((100.0, 110.0, 130.0))
    monkeypatch.setattr(again.time, "monotonic", lambda: next(clock))
    told = []
    report = again._progress(told.append, known=3)
    for done in (0, 2, 3, 4, 6):
        report(done, 6)
    assert [said["seconds_left"] for said in told] == [None, None, None, 20.0, 0.0]


async def test_an_adapter_on_every_layer_has_no_trunk(executor, tmp_path):
    every = replace(SPEC, layers=0)
    run = replace(RUN, arguments={"spec": every.to_json()})
    await retrain(executor, run, every, trained(tmp_path), lambda _: None, 1)
    assert "trunk" not in executor.ran


async def test_too_few_contributors_are_refused(executor, tmp_path):
    with pytest.raises(TooFewContributors):
        await retrain(executor, RUN, SPEC, trained(tmp_path, people={"0xa": 1}), lambda _: None, 1)
    assert executor.made == {}


def test_contributors_are_counted_in_the_records():
    data = b"".join(line(f"r{i}", f"0x{i % 3:040x}", {"t": "x"}) for i in range(7))
    assert contributors(data) == 3


async def test_the_fit_reads_the_index_that_has_everybody_and_nothing_else_changes(executor, tmp_path):
    await retrain(executor, RUN, SPEC, trained(tmp_path), lambda _: None, 1)
    first = set(executor.made)
    indexed = Shard("services.factory.parts_task:join", {"run": RUN.digest(), "parts": []})
    executor.ran = []
    await retrain(executor, RUN, SPEC, trained(tmp_path), lambda _: None, 1, indexed)
    [fit] = set(executor.made) - first
    assert executor.made[fit].arguments["run"] == indexed.digest()


def test_what_is_left_of_a_run_counts_further_parts(monkeypatch):
    clock = iter((100.0, 110.0))
    monkeypatch.setattr(again.time, "monotonic", lambda: next(clock))
    told = []
    report = foretold(told.append, FineTuneSpec(contributors_at_once=2), 7, at_once=2)
    report({"phase": "training", "seconds_left": 30.0})
    assert told == [{"phase": "training", "seconds_left": 30.0 + 2 * 40.0}]


def test_what_is_left_of_a_run_counts_what_will_follow(monkeypatch):
    clock = iter((100.0, 110.0))
    monkeypatch.setattr(again.time, "monotonic", lambda: next(clock))
    told = []
    report = foretold(told.append, FineTuneSpec(leave_one_out=True, curvature_samples=1), 4, at_once=2)
    report({"phase": "training", "seconds_left": 30.0})
    report({"phase": "loading", "seconds_left": None})
    assert told == [{"phase": "training", "seconds_left": 30 + 40 * 4 * (2 / 4) / 2}, {"phase": "loading",
                    "seconds_left": None}]  # fmt: skip
