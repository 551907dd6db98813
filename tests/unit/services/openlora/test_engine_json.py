"""Which tokens may follow, and when an answer satisfies its schema."""

from __future__ import annotations

import json

import pytest
import torch

from services.openlora.engine import RequestRejected
from services.openlora.engine_json import Schemas, schemas
from tests import tiny_model

END = 2
SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Schemas:
    return schemas(tiny_model.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def spell(tmp_path_factory):
    from services.openlora.engine_text import TextCodec

    return TextCodec(tiny_model.make(tmp_path_factory.mktemp("base"))).encode


def test_what_may_follow_is_what_the_schema_says(known, spell):
    progress = known.progress(SCHEMA)
    assert progress.allowed(()).nonzero().flatten().tolist() == list(spell("{"))
    narrowed = progress.narrowed(torch.zeros(300), spell('{"a":'))
    digits = {token for digit in "-0123456789" for token in spell(digit)}
    assert {*(narrowed == 0).nonzero().flatten().tolist()} == digits
    assert bool(narrowed[260:].isneginf().all()), "what the tokenizer does not know cannot follow"


def test_the_end_may_follow_a_whole_answer_and_not_before(known, spell):
    progress = known.progress(SCHEMA)
    assert not progress.allowed(spell('{"a":12'))[END]
    assert progress.allowed(spell('{"a":12}')).nonzero().flatten().tolist() == [END]


def test_only_a_whole_answer_has_satisfied_its_schema(known, spell):
    known.progress(SCHEMA).ended([*spell('{"a":12}'), END])
    with pytest.raises(RequestRejected, match="too costly"):
        known.progress(SCHEMA).ended([*spell('{"'), END])


@pytest.mark.parametrize("schema", ("", "{", "1", '{"type": 5}', "{" * 10_000, "\ud800"), ids=repr)
def test_what_is_no_schema_is_refused(known, schema):
    with pytest.raises(RequestRejected, match="schema"):
        known.check(schema)


def test_a_schema_that_can_be_followed_is_taken(known):
    known.check(SCHEMA)
