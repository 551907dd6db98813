"""Which records are shown to whom: by sketches of made-up gradients, and an answer that is one of them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openledger.adapters import TRAINING
from openledger.artifacts import ArtifactStore
from openledger.influence.drill_down import DEFAULT, SCORERS
from openledger.influence.metric import Metric
from openledger.influence.parameters import Parameter
from openledger.influence.quantize import quantise
from openledger.influence.record_sketches import Header, RecordSketches, Rows
from openledger.trace import parse
from services.attribution import records
from services.attribution.records import AGREEMENT, MOST_CONTRIBUTORS, MOST_RECORDS, DrillDown, OneAtATime
from services.attribution.shelf import Availability
from tests.attribution_world import Artifacts

PEOPLE = [f"0x{n:040x}" for n in range(1, 9)]
EACH = 12
LAYOUT = (Parameter("all", (96,)),)
GRADIENTS = np.random.default_rng(0).normal(size=(len(PEOPLE) * EACH, 96))
MINE = 2 * EACH + 5
"""The record that is said again: the sixth of the third."""


@pytest.fixture
def artifacts(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture(scope="module")
def sketches():
    header = Header("a seed", 32_640, "adam", LAYOUT, tuple((who, EACH) for who in PEOPLE))
    metric = Metric.adam(np.ones(96))
    return RecordSketches(header, metric, Rows.of(header, metric, range(len(GRADIENTS)), GRADIENTS))


@pytest.fixture
def trace(tmp_path):
    adapter = SimpleNamespace(revision="adapters/a/revisions/" + "0" * 64, base_sha256="ab" * 32)
    return Artifacts(tmp_path, adapter, (1, 2), (3,)).trace(1)


@pytest.fixture
def drill_down(artifacts, sketches, trace):
    """Makes one; counts the gradients that it had computed."""
    workers = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def make(found=None, gradient=GRADIENTS[MINE], layout=LAYOUT):
        def answer(folder, prompt, completion):
            made.computed += 1
            return SimpleNamespace(gradient=quantise(gradient, (96,)))

        async def of(receipt):
            return parse(artifacts.get(receipt.trace_sha256))

        async def get(revision, wait):
            owned = [[f"record-{n}", PEOPLE[n // EACH]] for n in range(len(GRADIENTS))]
            files = {TRAINING: artifacts.put(json.dumps({"records": owned}).encode())}
            lineage = SimpleNamespace(contributors=dict.fromkeys(PEOPLE, EACH), files=files)
            return (lineage, sketches) if found is None else found

        revision = SimpleNamespace(folder=None, index=SimpleNamespace(header=SimpleNamespace(parameters=layout)))
        models = SimpleNamespace(resolve=lambda trace: (SimpleNamespace(answer=answer), revision))
        made = DrillDown(artifacts, SimpleNamespace(of=of), SimpleNamespace(get=get), models, *workers)
        made.computed = 0
        return made

    yield make
    for worker in workers:
        worker.shutdown()


@pytest.fixture
def receipt(artifacts, trace):
    """Pays all but the first, the later the more; the platform too."""
    shares = {who: 100 + n for n, who in enumerate(PEOPLE) if n} | {"platform": 1000}
    return SimpleNamespace(
        response="responses/r1",
        trace_sha256=artifacts.put(trace.dumps()),
        model=SimpleNamespace(adapter=trace.adapter),
        shares=shares,
        evidence=SimpleNamespace(scores=dict.fromkeys(PEOPLE, 1)),
    )


async def test_those_who_are_paid_most_are_shown_and_the_caller_where_it_is_paid(drill_down, receipt):
    top = PEOPLE[:-6:-1]
    assert len(top) == MOST_CONTRIBUTORS
    for caller, shown in (("0xnobody", top), (PEOPLE[5], top), (PEOPLE[1], [*top, PEOPLE[1]]), (PEOPLE[0], top)):
        found = await drill_down().find(receipt, caller, DEFAULT, 0)
        assert found.state is Availability.READY
        assert [best.contributor for best in found.best] == shown
        for best in found.best:
            assert (best.compared, len(best.records)) == (EACH, MOST_RECORDS)
            assert all(bool(one.name) is (best.contributor == caller) for one in best.records)


async def test_the_record_that_is_said_again_is_first_by_every_scorer_of_the_sketches(drill_down, receipt):
    assert (await drill_down().find(receipt, PEOPLE[2], "", 0)).scorer == DEFAULT
    for scorer in (name for name, way in SCORERS.items() if way.kind == "adam"):
        found = await drill_down().find(receipt, PEOPLE[2], scorer, 0)
        [mine] = [best for best in found.best if best.contributor == PEOPLE[2]]
        assert mine.records[0].name == f"record-{MINE}"
        assert (mine.records[0].error is None) is (scorer == "adam-fisher")
        assert scorer in found.words


async def test_an_answers_gradient_is_computed_once(drill_down, receipt):
    one = drill_down()
    assert await one.find(receipt, PEOPLE[3], DEFAULT, 0) == await one.find(receipt, PEOPLE[3], DEFAULT, 0)
    await one.find(receipt, PEOPLE[4], "adam-dot", 0)
    assert one.computed == 1


async def test_a_caller_has_one_gradient_in_hand_and_others_are_not_in_its_way(drill_down, receipt, artifacts, trace):
    one, begun, go = drill_down(), threading.Event(), threading.Event()
    sketched = one._sketched
    one._sketched = lambda *given: (begun.set(), go.wait(10), sketched(*given))[-1]
    other = SimpleNamespace(**vars(receipt) | {"trace_sha256": artifacts.put(replace(trace, fee=7).dumps())})
    first = asyncio.create_task(one.find(receipt, PEOPLE[3], DEFAULT, 0))
    assert await asyncio.to_thread(begun.wait, 10)
    with pytest.raises(OneAtATime):
        await one.find(other, PEOPLE[3], DEFAULT, 0)
    others = asyncio.create_task(one.find(other, PEOPLE[4], DEFAULT, 0))
    go.set()
    assert {(await each).state for each in (first, others)} == {Availability.READY}
    assert (await one.find(other, PEOPLE[3], DEFAULT, 0)).best, "it may ask again once that is done"


async def test_while_the_models_are_needed_for_long_that_is_said(drill_down, receipt, monkeypatch):
    monkeypatch.setattr(records, "_PATIENCE", 0.05)
    one, go = drill_down(), threading.Event()
    one._scoring.submit(go.wait, 10)
    found = await one.find(receipt, PEOPLE[3], DEFAULT, 0)
    assert (found.state, found.words, found.best) == (Availability.PENDING, records.BUSY, ())
    go.set()
    assert (await one.find(receipt, PEOPLE[3], DEFAULT, 10)).best


@pytest.mark.parametrize("state", [state for state in Availability if state is not Availability.READY])
async def test_without_sketches_it_is_said_why_and_nothing_is_computed(drill_down, receipt, state):
    one = drill_down(state)
    found = await one.find(receipt, PEOPLE[3], DEFAULT, 0)
    assert (found.state, found.words, found.best) == (state, records.SAID[state], ())
    assert one.computed == 0


async def test_what_the_sketches_do_not_know_is_said(drill_down, receipt, monkeypatch):
    found = await drill_down().find(receipt, PEOPLE[3], "datainf", 0)
    assert (found.state, found.best) == (Availability.UNAVAILABLE, ())
    assert "by datainf" in found.words
    assert "they know adam-dot, adam-cosine, adam-fisher" in found.words
    monkeypatch.setattr(records, "MOST_TOGETHER", EACH - 1)
    found = await drill_down().find(receipt, PEOPLE[3], "adam-fisher", 0)
    assert "at most 11 records of a contributor here, and one has 12" in found.words
    assert (await drill_down().find(receipt, PEOPLE[3], DEFAULT, 0)).best


async def test_trouble_of_any_kind_is_no_trouble_of_the_callers(drill_down, receipt, sketches):
    other = (Parameter("other", (96,)),)
    for one in (drill_down(layout=other), drill_down(gradient=None)):
        found = await one.find(receipt, PEOPLE[3], DEFAULT, 0)
        assert (found.state, found.best) == (Availability.UNAVAILABLE, ())
        assert "tell an operator" in found.words
    receipt.trace_sha256 = "0" * 64
    assert (await drill_down().find(receipt, "", DEFAULT, 0)).state is Availability.UNAVAILABLE


@pytest.mark.parametrize("owned", ([["r", PEOPLE[0]]] * 96, [["r", PEOPLE[3]]] * 5))
async def test_a_name_is_told_only_where_the_training_says_whose_it_is(drill_down, receipt, artifacts, sketches, owned):
    files = {TRAINING: artifacts.put(json.dumps({"records": owned}).encode())}
    lineage = SimpleNamespace(contributors=dict.fromkeys(PEOPLE, EACH), files=files)
    found = await drill_down((lineage, sketches)).find(receipt, PEOPLE[3], DEFAULT, 0)
    assert (found.state, found.best) == (Availability.UNAVAILABLE, ())


async def test_sketches_of_other_records_are_not_used(drill_down, receipt, sketches):
    lineage = SimpleNamespace(contributors=dict.fromkeys(PEOPLE, EACH + 1), files={})
    found = await drill_down((lineage, sketches)).find(receipt, "", DEFAULT, 0)
    assert (found.state, found.best) == (Availability.UNAVAILABLE, ())


def test_what_is_said_of_agreement_was_measured():
    measured = json.loads(Path("bench/results/records.json").read_text())["figures"]
    assert AGREEMENT.keys() == SCORERS.keys()
    for scorer, (spearman, recall) in AGREEMENT.items():
        assert spearman == pytest.approx(measured[f"spearman_{scorer}"], abs=0.0006)
        assert recall == pytest.approx(measured[f"top_10_recall_{scorer}"], abs=0.006)
    said = records.SAID[Availability.READY].format(scorer="x", spearman=0.98, recall=0.88)
    assert re.search(r"by 0\.980 .* 88% of the true top ten", said)
