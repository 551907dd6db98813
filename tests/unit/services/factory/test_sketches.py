"""Sketches of a run's records, made on the tiny model: what they are of, and what a killed worker leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openledger.influence.decoder import Decoder
from openledger.influence.drill_down import DEFAULT, USUAL, sketch_answer, top_records
from openledger.influence.gradient import Scorer
from openledger.influence.lora import Adapter
from openledger.influence.metric import Metric
from openledger.influence.record_sketches import RecordSketches, Rows
from services.factory import sketches
from services.factory.data import Example, split, tokenise
from services.factory.train import train
from services.factory.write import second_moment
from tests.unit.services.factory.conftest import records, spec

SEED = "ab" * 32


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def run(base, tokenizer, tmp_path_factory):
    """A finished run: its folder."""
    examples = tokenise(records(3, 5), spec(), tokenizer).examples
    return train(spec(), examples, base, tmp_path_factory.mktemp("run")).folder


@pytest.fixture(scope="module")
def end(run, base, tokenizer):
    """What was trained on is shuffled among contributors, and a canary is in it."""
    training, _ = split(tokenise(records(3, 5), spec(), tokenizer).examples, 0.0, 3)
    nobodys = replace(training[0], record="canary", contributor="")
    mixed = [*training[::2], nobodys, *training[1::2]]
    return sketches.End(Decoder.load(base), Adapter.load(run), second_moment(run).numpy(), mixed)


@pytest.fixture
def made(end, tmp_path, monkeypatch):
    """Makes a file, four records at a time; gives its bytes, and how many records it said were done."""
    size = sketches.PER_WEIGHT * len(end.second_moment)
    monkeypatch.setattr(sketches, "GROUP_BYTES", 4 * size + 1)

    def make(name="file", scratch="rows", stop=None):
        told = []

        def on_records(done, total):
            assert total == 15
            told.append(done)
            if done == stop:
                raise Killed

        sketches.write(tmp_path / name, end, SEED, tmp_path / scratch, on_records)
        return (tmp_path / name).read_bytes(), told

    return make


def test_every_record_of_somebody_is_in_it_by_its_place(made, end):
    data, told = made()
    file = RecordSketches.from_bytes(data)
    assert told == [0, 4, 8, 12, 15]
    assert (file.header.seed, file.header.kind) == (SEED, "adam")
    assert file.header.parameters == end.adapter.parameters
    for contributor, count in file.header.contributors:
        theirs = [place for place, example in enumerate(end.training) if example.contributor == contributor]
        assert file.of(contributor).leaves.tolist() == theirs
        assert count == len(theirs) == 5
    assert len(data) < 15 * 4096 + len(end.second_moment) + 8192


def test_they_are_of_the_gradients_that_answers_have(made, end, run, base):
    """By the canonical gradient, which is computed in another way; it is rounded to int8."""
    file, scorer = RecordSketches.from_bytes(made()[0]), Scorer(base)
    metric = Metric.adam(end.second_moment)
    assert np.array_equal(file.metric.exponents, metric.exponents)
    for place, norm, signs in zip(file.rows.leaves.tolist(), file.rows.norms, file.rows.signs.signs, strict=True):
        example: Example = end.training[place]
        gradient = scorer.answer(run, example.prompt, example.completion).gradient.to_float()
        own = Rows.of(file.header, metric, [place], gradient[None])
        assert norm == pytest.approx(float(own.norms[0]), rel=0.03)
        assert np.unpackbits(signs ^ own.signs.signs[0]).mean() < 0.05


def test_a_record_that_is_said_again_comes_first(made, end, run, base):
    file, scorer = RecordSketches.from_bytes(made()[0]), Scorer(base)
    people = [who for who, _ in file.header.contributors]
    for place, example in enumerate(end.training):
        if example.contributor:
            gradient = scorer.answer(run, example.prompt, example.completion).gradient.to_float()
            found = top_records(file, sketch_answer(file, gradient), people, 1, DEFAULT)
            best = max(people, key=lambda who: found[who][0].score)
            assert (best, found[best][0].leaf) == (example.contributor, place)
            assert found[best][0].score > 10 * found[best][0].error


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(made, end, tmp_path):
    one = made()[0]
    assert made("again", "other rows")[0] == one
    sketches.write(tmp_path / "third", end, "cd" * 32, tmp_path / "third rows", lambda *_: None)
    assert (tmp_path / "third").read_bytes() != one


@pytest.mark.parametrize("kind", ("gradient", "tensor"))
def test_other_kinds_know_other_scorers_and_find_the_same_record(end, run, base, tmp_path, kind):
    sketches.write(tmp_path / "file", end, SEED, tmp_path / "rows", lambda *_: None, kind)
    file, example = RecordSketches.open(tmp_path / "file"), end.training[2]
    assert file.header.kind == kind
    gradient = Scorer(base).answer(run, example.prompt, example.completion).gradient.to_float()
    found = top_records(file, sketch_answer(file, gradient), [example.contributor], 1, USUAL[kind])
    assert found[example.contributor][0].leaf == 2


@pytest.mark.parametrize("torn", (b"", b"\x01" * 5000))
def test_a_killed_worker_goes_on_and_ends_with_the_same_bytes(made, tmp_path, torn):
    """The group that was written last is taken again: a power cut may have left it half on the disk."""
    whole = made("whole", "whole rows")[0]
    with pytest.raises(Killed):
        made(stop=12)
    with (tmp_path / "rows").open("ab") as rows:
        rows.write(torn)
    data, told = made()
    assert told == ([8, 12, 15] if not torn else [12, 15])
    assert data == whole


def test_a_worker_that_was_killed_at_the_very_end_does_little_again(made):
    whole, _ = made()
    again, told = made("again")
    assert again == whole
    assert told == [12, 15]
