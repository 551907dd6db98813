"""The private files of a fine-tune, made by its task in this process."""

from __future__ import annotations

import pytest

from openledger import base_models
from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.drill_down import DEFAULT, SCORERS
from openledger.influence.record_sketches import RecordSketches
from openledger.spans.index import SpanIndex
from services.factory import inputs
from services.factory.data import split, tokenise
from services.factory.lines import FOLDER, line
from services.factory.private_task import private_files
from services.factory.train import train
from services.factory.write import MOMENT
from services.kit.executor import NotFinished, TaskContext
from tests.unit.services.factory.conftest import records, spec

SALT = "ab" * 32


def extra(salt=SALT):
    """What the task is told beside the fine-tune's own arguments."""
    return {"run": "a run", "kind": "adam", "salts": {SPAN_INDEX: salt, RECORD_SKETCHES: salt}}


@pytest.fixture
def made(offered, tmp_path, monkeypatch):
    """Makes an index; gives its file."""
    store = ArtifactStore(tmp_path / "records")
    monkeypatch.setenv(FOLDER, str(store.root))
    people = records(3, 5)
    digest = store.put(b"".join(line(r.name, r.contributor, r.fields) for r in people))

    def make(name, salt=SALT, **changes):
        given = spec(prompt_template="{prompt}", completion_template="{completion}", held_out=0.3, **changes)
        (tmp_path / name).mkdir()
        context = TaskContext(tmp_path / name, tmp_path, lambda _: None, lambda _: tmp_path)
        arguments = {
            "spec": given.to_json(),
            "records": digest,
            "threads": 1,
            "base_sha256": base_models.sha256(offered),
        }
        result = private_files(arguments | extra(salt), context)
        assert result["files"] == {SPAN_INDEX: file_sha256(tmp_path / name / SPAN_INDEX)}, "this run has no sketches"
        return given, people, SpanIndex.open(tmp_path / name / SPAN_INDEX)

    return make


def test_documents_are_what_the_model_was_trained_to_say_by_its_place_in_the_training(made, tokenizer):
    given, people, index = made("one", canaries=2)
    index.check()
    training, held_out = split(tokenise(people, given, tokenizer).examples, given.held_out, given.seed)
    assert held_out
    assert index.header.documents == len(training), "neither what was held out nor canaries"
    assert index.header.owners == 3
    addresses = sorted({record.contributor for record in people})
    for place, example in enumerate(training):
        assert int(index.records[place]) == place
        assert addresses[index.owners[place]] == example.contributor
        length = int(index.starts[place + 1]) - int(index.starts[place]) - 1
        assert length == len(example.completion) - 1, "the end-of-turn token is nobody's"
    assert tokenizer.eos_token_id not in index.vocabulary


def test_the_same_arguments_give_the_same_bytes_and_another_salt_gives_others(made, tmp_path):
    for name, salt in (("one", SALT), ("two", SALT), ("three", "cd" * 32)):
        made(name, salt)
    one, two, three = ((tmp_path / name / SPAN_INDEX).read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_another_base_model_is_refused(offered, tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path / "records")
    monkeypatch.setenv(FOLDER, str(store.root))
    digest = store.put(line("r", "0x" + "0a" * 20, {"prompt": "a", "completion": "b"}))
    context = TaskContext(tmp_path, tmp_path, lambda _: None, lambda _: tmp_path)
    arguments = {"spec": spec().to_json(), "records": digest, "threads": 1, "base_sha256": "00" * 32}
    with pytest.raises(inputs.BaseChanged):
        private_files(arguments | extra(), context)


@pytest.fixture
def sketched(offered, base, tokenizer, tmp_path, monkeypatch):
    """Trains, and makes sketches of the run; gives the task's result, its file, and what was trained on."""
    store = ArtifactStore(tmp_path / "records")
    monkeypatch.setenv(FOLDER, str(store.root))
    people = records(3, 5)
    given = spec(prompt_template="{prompt}", completion_template="{completion}", held_out=0.3, epochs=1)
    arguments = extra() | {"spec": given.to_json(), "threads": 1,
                 "records": store.put(b"".join(line(r.name, r.contributor, r.fields) for r in people)),
                 "base_sha256": base_models.sha256(offered)}  # fmt: skip
    examples = tokenise(people, given, tokenizer).examples
    folder = train(given, examples, base, tmp_path / "run").folder
    (tmp_path / "scratch").mkdir()

    def make(name, outputs={"a run": folder}, report=lambda _: None):  # noqa: B006 - not changed
        (tmp_path / name).mkdir()

        def found(digest):
            if digest not in outputs:
                raise NotFinished(digest)
            return outputs[digest]

        context = TaskContext(tmp_path / name, tmp_path / "scratch", report, found)
        return private_files(arguments, context), tmp_path / name / RECORD_SKETCHES, split(examples, 0.3, 3)

    return make


def test_sketches_are_of_what_was_trained_on_and_told_of(sketched):
    said = []
    result, file, (training, held_out) = sketched("one", report=said.append)
    index = file.with_name(SPAN_INDEX)
    assert result["files"] == {RECORD_SKETCHES: file_sha256(file), SPAN_INDEX: file_sha256(index)}
    assert result["seconds"] > 0
    found = RecordSketches.open(file)
    assert held_out
    assert (found.header.seed, found.header.kind) == (SALT, SCORERS[DEFAULT].kind)
    assert sorted(found.rows.leaves.tolist()) == list(range(len(training)))
    for who, _ in found.header.contributors:
        assert {training[leaf].contributor for leaf in found.of(who).leaves.tolist()} == {who}
    sketching = [one for one in said if one["phase"] == "sketches"]
    assert [(one["step"], one["steps"]) for one in (sketching[0], sketching[-1])] == [
        (0, len(training)), (len(training), len(training))]  # fmt: skip
    assert (sketching[0]["seconds_left"], sketching[-1]["seconds_left"]) == (None, 0)


def test_of_a_run_without_its_second_moment_there_are_none(sketched, tmp_path):
    """It was trained by an earlier version, and is not trained again for that."""
    (tmp_path / "run" / MOMENT).unlink()
    result, file, _ = sketched("one")
    assert result["files"].keys() == {SPAN_INDEX}
    assert not file.exists()


def test_of_a_run_that_is_not_there_nothing_is_made(sketched):
    with pytest.raises(NotFinished):
        sketched("one", outputs={})
