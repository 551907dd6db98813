from __future__ import annotations

import pytest

from openledger.cli.demo import hpo
from tests.needs import needs

pytestmark = needs("hpo")


@pytest.fixture(scope="module")
def corpus():
    return hpo.load(16, 10)


def test_there_are_enough_people_with_enough_definitions(corpus):
    assert len(corpus.curators) == 16
    assert {len(c.definitions) for c in corpus.curators} == {10}
    assert {len(c.held_out) for c in corpus.curators} == {2}


def test_no_definition_is_used_twice_and_none_asked_about_was_contributed(corpus):
    texts = [d.text for c in corpus.curators for d in (*c.definitions, *c.held_out)]
    assert len(texts) == len(set(texts)) == 16 * 12


def test_the_draw_is_the_same_every_time(corpus):
    assert hpo.load(16, 10) == corpus


def test_the_licence_is_acknowledged_with_its_version(corpus):
    assert corpus.version.startswith("hp/releases/")
    assert corpus.version in corpus.notice


def test_nobody_is_shown_by_name(corpus):
    assert all(c.pseudonym.startswith("curator ") for c in corpus.curators)
