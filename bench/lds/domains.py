"""What the study trains on and asks about: contributors with records of their own, in two domains that share nothing.

Texts are read in place from installed packages. Knows neither models nor scores; each text is used once, and nobody's
held-out texts are among anybody's records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.lds import docstrings
from openledger.cli.demo import hpo


@dataclass(frozen=True)
class Text:
    """Something to be described, and its description: a record, or a query with the answer that is scored."""

    term: str
    text: str


@dataclass(frozen=True)
class Contributor:
    """Whoever is paid: what they gave for training, and texts of theirs that nobody trains on."""

    name: str
    licence: str
    records: tuple[Text, ...]
    held_out: tuple[Text, ...]


@dataclass(frozen=True)
class Domain:
    """A set of contributors and how their terms are asked about."""

    name: str
    source: str
    """Packages and versions that the texts are read from."""
    notice: str
    """What the texts' licences ask to be shown."""
    question: str
    """The prompt, with {term}."""
    contributors: tuple[Contributor, ...]


def _hpo(contributors: int, records: int, held_out: int, seed: int) -> Domain:
    corpus = hpo.load(contributors, records, held_out, seed)
    people = tuple(
        Contributor(
            curator.pseudonym,
            hpo.LICENCE,
            tuple(Text(d.term, d.text) for d in curator.definitions),
            tuple(Text(d.term, d.text) for d in curator.held_out),
        )
        for curator in corpus.curators
    )
    return Domain("hpo", corpus.version, corpus.notice, 'What does the clinical term "{term}" mean?', people)


def _docstrings(contributors: int, records: int, held_out: int, seed: int) -> Domain:
    projects = docstrings.PROJECTS[:contributors]
    drawn = [[Text(*pair) for pair in pairs] for pairs in docstrings.draw(projects, records + held_out, seed)]
    people = tuple(
        Contributor(project.name, project.licence, tuple(texts[:records]), tuple(texts[records:]))
        for project, texts in zip(projects, drawn, strict=True)
    )
    source = ", ".join(map(docstrings.source, projects))
    notice = "Docstrings of " + ", ".join(f"{p.name} ({p.licence})" for p in projects) + "; by their authors."
    return Domain("docstrings", source, notice, "What is `{term}` for, in its Python library?", people)


DOMAINS: dict[str, Callable[[int, int, int, int], Domain]] = {"hpo": _hpo, "docstrings": _docstrings}


def load(name: str, contributors: int = 16, records: int = 8, held_out: int = 2, seed: int = 0) -> Domain:
    """A domain with so many contributors, of so many records and held-out texts each; which ones is drawn by ``seed``.

    Raises KeyError for an unknown name, and ValueError where the domain has too few contributors.
    """
    domain = DOMAINS[name](contributors, records, held_out, seed)
    if len(domain.contributors) < contributors:
        raise ValueError(f"{name} has {len(domain.contributors)} contributors with enough texts, not {contributors}")
    return domain
