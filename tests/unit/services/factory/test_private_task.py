"""The span index of a fine-tune, made by its task in this process."""

from __future__ import annotations

import pytest

from openledger import base_models
from openledger.adapters import SPAN_INDEX
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.spans.index import SpanIndex
from services.factory import inputs
from services.factory.data import split, tokenise
from services.factory.lines import FOLDER, line
from services.factory.private_task import span_index
from services.kit.executor import TaskContext
from tests.unit.services.factory.conftest import records, spec

SALT = "ab" * 32


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
        arguments = {"spec": given.to_json(), "records": digest, "threads": 1, "salt": salt,
                     "base_sha256": base_models.sha256(offered)}  # fmt: skip
        result = span_index(arguments, context)
        assert result == {"files": {SPAN_INDEX: file_sha256(tmp_path / name / SPAN_INDEX)}}
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
    arguments = {"spec": spec().to_json(), "records": digest, "threads": 1, "salt": SALT, "base_sha256": "00" * 32}
    with pytest.raises(inputs.BaseChanged):
        span_index(arguments, context)
