"""Short prose by sixteen groups of authors: docstrings of Python projects that are installed here anyway.

A contributor is a project; a record is the qualified name of a public class or function, as the term, and the first
paragraph of its docstring, as the text. Sources are parsed in place, never imported, and nothing of them is stored in
this repository. For given versions of the projects the draw is the same on every machine.

What makes these texts hard: a term names neither its project nor, mostly, what the text says; projects of one field
(four of machine learning, three of mathematics, two of Ethereum) are partly redundant; all share the idiom of
docstrings. What is not checked: whether they are right.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

LENGTH = range(90, 260)
"""Characters of a text; the HPO's definitions are held to the same."""
PER_FILE = 3
"""Texts from one file at most: neighbours say nearly the same."""
ALIKE = 0.5
"""Share of common words (Jaccard) from which two texts count as one."""
TOLD = 0.4
"""Share of a text's words from which the term gives the text away."""
SPARE = 6
"""Candidates read for each text that is wanted: what is too like another is left out."""


@dataclass(frozen=True)
class Project:
    """A distribution, the package in it that is read, and the licence of its documentation (SPDX)."""

    name: str
    package: str
    licence: str


PROJECTS = (
    Project("torch", "torch", "BSD-3-Clause"),
    Project("sqlalchemy", "sqlalchemy", "MIT"),
    Project("sympy", "sympy", "BSD-3-Clause"),
    Project("transformers", "transformers", "Apache-2.0"),
    Project("hypothesis", "hypothesis", "MPL-2.0"),
    Project("networkx", "networkx", "BSD-3-Clause"),
    Project("openai", "openai", "Apache-2.0"),
    Project("pygments", "pygments", "BSD-2-Clause"),
    Project("py-evm", "eth", "MIT"),
    Project("jinja2", "jinja2", "BSD-3-Clause"),
    Project("pydantic", "pydantic", "MIT"),
    Project("huggingface-hub", "huggingface_hub", "Apache-2.0"),
    Project("pillow", "PIL", "MIT-CMU"),
    Project("web3", "web3", "MIT"),
    Project("mpmath", "mpmath", "BSD-3-Clause"),
    Project("accelerate", "accelerate", "Apache-2.0"),
)


class NotEnough(RuntimeError):
    """A project is missing, or has too few texts that fit."""


def draw(projects: Sequence[Project], count: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """So many (term, text) of each project, drawn by ``seed``: no term twice, no two texts alike. Raises NotEnough."""
    taken: dict[str, str] = {}
    return [_draw(project, count, seed, taken) for project in projects]


def _draw(project: Project, count: int, seed: int, taken: dict[str, str]) -> list[tuple[str, str]]:
    """``draw`` for one project, given what other projects have; adds to ``taken``."""
    chosen: list[tuple[str, str]] = []
    for term, text in sorted(_pool(project, count * SPARE, seed), key=lambda found: _digest(seed, *found)):
        if len(chosen) < count and term not in taken and all(_alike(text, other) < ALIKE for other in taken.values()):
            taken[term] = text
            chosen.append((term, text))
    if len(chosen) < count:
        raise NotEnough(f"{project.name} has {len(chosen)} docstrings that fit, {count} are wanted")
    return chosen


def paragraphs(project: Project) -> list[str]:
    """The first of each docstring, whatever it reads like; none twice. Raises NotEnough."""
    root = _root(project)
    files = sorted(file for file in root.rglob("*.py") if _is_public(file.relative_to(root)))
    return list(dict.fromkeys(text for file in files for _, text in _documented(file) if text))


def source(project: Project) -> str:
    """Name and version of what was read. Raises PackageNotFoundError."""
    return f"{project.name} {version(project.name)}"


def _pool(project: Project, count: int, seed: int) -> list[tuple[str, str]]:
    """At least ``count`` (term, text) that fit, if there are so many, from files in an order drawn by ``seed``."""
    root = _root(project)
    files = [file.relative_to(root) for file in root.rglob("*.py")]
    found: list[tuple[str, str]] = []
    for file in sorted(filter(_is_public, files), key=lambda file: _digest(seed, file.as_posix())):
        found += [pair for pair in _documented(root / file) if _fits(*pair)][:PER_FILE]
        if len(found) >= count:
            break
    return found


def _root(project: Project) -> Path:
    spec = find_spec(project.package)
    if spec is None or not spec.submodule_search_locations:
        raise NotEnough(f"{project.name}, whose docstrings are read, is not installed; run `make setup-dev`")
    return Path(spec.submodule_search_locations[0])


def _is_public(file: Path) -> bool:
    return not any(part.startswith(("_", "test", "vendor")) for part in file.parts[:-1]) and file.name[:4] != "test"


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    """(qualified name, first paragraph) of what is public and documented in a file; nothing from one not in Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    waiting: list[tuple[str, ast.stmt]] = [("", node) for node in tree.body]
    while waiting:
        prefix, node = waiting.pop(0)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        term = prefix + node.name
        if docstring := ast.get_docstring(node):
            yield term, _plain(docstring.split("\n\n")[0])
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{term}.", child) for child in node.body]


def _plain(paragraph: str) -> str:
    """One line, without the commonest marks of reStructuredText: :class:`~a.b` and ``b`` become `a.b` and `b`."""
    line = " ".join(paragraph.split()).replace("``", "`")
    return re.sub(r":(?:\w+:)?\w+:`(?:[^`<]*<)?[~.!]*([^`>]+)>?`", r"`\1`", line)


def _fits(term: str, text: str) -> bool:
    """Whether a text reads as prose of the right length, and says more than its term."""
    if (
        len(text) not in LENGTH
        or not text[0].isupper()
        or text[-1] != "."
        or re.search(r"[:*<>\\|{}\[\]=]|https?", text)
    ):
        return False
    prose = sum(c.isalpha() or c == " " for c in text) / len(text)
    told = [word for word in _words(text) if len(word) > 3 and word[:4] in term.lower()]
    return prose > 0.92 and len(told) < TOLD * len([word for word in _words(text) if len(word) > 3])


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def _alike(left: str, right: str) -> float:
    a, b = _words(left), _words(right)
    return len(a & b) / len(a | b)


def _digest(seed: int, *parts: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).digest()
