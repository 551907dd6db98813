"""The study's domains as they are installed here."""

from __future__ import annotations

import pytest

from bench.lds import docstrings, domains
from openledger.cli.demo import hpo
from tests.needs import needs

NAMES = (pytest.param("hpo", marks=needs("hpo")), pytest.param("docstrings", marks=pytest.mark.long))


@pytest.mark.parametrize("name", NAMES)
def test_everybody_has_the_same_number_of_texts_and_no_text_is_used_twice(name: str) -> None:
    domain = domains.load(name)
    assert [(len(c.records), len(c.held_out)) for c in domain.contributors] == [(8, 2)] * 16
    used = [text for c in domain.contributors for text in (*c.records, *c.held_out)]
    assert len({text.text for text in used}) == len(used)
    assert all(len(text.text) in docstrings.LENGTH for text in used)


@pytest.mark.parametrize("name", NAMES)
def test_the_draw_is_the_seeds(name: str) -> None:
    first, again, other = (domains.load(name, contributors=2, records=4, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [c.name for c in first.contributors] == [c.name for c in other.contributors]
    assert first.contributors[0].records != other.contributors[0].records


@pytest.mark.parametrize("name", NAMES)
def test_what_was_read_is_named_with_version_and_licence(name: str) -> None:
    domain = domains.load(name, contributors=1, records=1)
    assert any(character.isdigit() for character in domain.source)
    assert "{term}" in domain.question
    licence = domain.contributors[0].licence
    assert licence == hpo.LICENCE or licence in domain.notice


def test_a_domain_that_is_too_small_says_so() -> None:
    with pytest.raises(ValueError, match="16 contributors"):
        domains.load("docstrings", contributors=17, records=0, held_out=0)
