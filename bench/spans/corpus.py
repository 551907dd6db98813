"""A hundred megabytes of real text that is on the machine: source and documentation of free Python projects.

The projects of `bench.lds.docstrings` and Python's standard library, all under free licences.  A document is what
stands at the top level of a file from one `def` or `class` to the next; each distinct one counts once.  Which of them
make up the text is drawn by their hashes; the others are *fresh*.  Read in place, tokenised once, kept in the cache.

What it is not: prose.  Code repeats itself more than prose does, in short phrases and in whole passages, so that there
are more spans to find, which is the harder case.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from bench.lds.docstrings import PROJECTS, source
from openledger import base_models
from openledger.cache import cache_folder
from openledger.spans.build import Document

BASE = "smollm2-135m-instruct"
BLOCK = re.compile(r"\n(?=(?:async )?def |class |@)")
SHORTEST = 80
FRESH_SHARE = 20
"""The fresh text is so many times smaller."""


@dataclass(frozen=True)
class Corpus:
    """The text's documents, whose numbers are those of `owners`; other text of the same kind; and what it all is."""

    documents: list[Document]
    owners: list[str]
    fresh: list[np.ndarray[Any, np.dtype[np.uint16]]]
    about: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Of all documents."""
        return sum(len(document.tokens) for document in self.documents)


def corpus(megabytes: int) -> Corpus:
    """So many million bytes of text, and a twentieth of that fresh; the same each time for the same projects."""
    about = {"sources": [f"Python {python_version()}, standard library", *map(source, PROJECTS)], "tokenizer": BASE}
    key = hashlib.sha256(repr((megabytes, about, base_models.sha256(BASE))).encode()).hexdigest()[:12]
    kept = cache_folder("spans") / f"{megabytes}-{key}.npz"
    if not kept.exists():
        _make(kept, megabytes * 10**6)
    with np.load(kept) as stored:
        texts = np.split(stored["tokens"], np.cumsum(stored["lengths"])[:-1])
        numbers, names, bytes_ = stored["numbers"].tolist(), stored["names"].tolist(), int(stored["bytes"])
    documents = [Document(owner, k, text) for k, (owner, text) in enumerate(zip(numbers, texts, strict=False))]
    found = Corpus(documents, names, texts[len(documents) :], about)
    about |= {"bytes": bytes_, "documents": len(documents), "owners": len(names), "tokens": found.tokens}
    return found


def _make(kept: Path, wanted: int) -> None:
    """Read, draw and tokenise."""
    blocks: dict[bytes, tuple[str, str]] = {}
    for owner, block in _blocks():
        blocks.setdefault(hashlib.sha256(block.encode()).digest(), (owner, block))
    drawn: list[tuple[str, str]] = []
    fresh: list[str] = []
    size = spare = 0
    for digest in sorted(blocks):
        owner, block = blocks[digest]
        if size < wanted:
            drawn.append((owner, block))
            size += len(block.encode())
        elif spare < wanted / FRESH_SHARE:
            fresh.append(block)
            spare += len(block.encode())
    if spare < wanted / FRESH_SHARE:
        raise SystemExit(f"the projects have only {size + spare} bytes of distinct text, {wanted} are wanted")
    tokens = _tokenised([block for _, block in drawn] + fresh)
    names = sorted({owner for owner, _ in drawn})
    number = {name: k for k, name in enumerate(names)}
    np.savez(
        kept,
        tokens=np.concatenate(tokens),
        lengths=np.array([len(each) for each in tokens]),
        numbers=np.array([number[owner] for owner, _ in drawn]),
        names=np.array(names),
        bytes=size,
    )


def _blocks() -> Iterator[tuple[str, str]]:
    """(owner, text): the owner is the folder of a project in which a file lies, two levels deep at most."""
    roots = [Path(sysconfig.get_path("stdlib"))]
    for project in PROJECTS:
        spec = find_spec(project.package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{project.name} is not installed; run `make setup-dev`")
        roots.append(Path(spec.submodule_search_locations[0]))
    for root in roots:
        for file in sorted(root.rglob("*.py")):
            inside = file.relative_to(root)
            if "site-packages" in inside.parts or "dist-packages" in inside.parts:
                continue
            owner = "/".join((root.name, *inside.parts[:-1][:2]))
            for block in BLOCK.split(file.read_text(encoding="utf-8", errors="ignore")):
                if len(block) >= SHORTEST:
                    yield owner, block


def _tokenised(texts: list[str]) -> list[np.ndarray[Any, np.dtype[np.uint16]]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base_models.locate(BASE) / "tokenizer.json"))
    found: list[np.ndarray[Any, np.dtype[np.uint16]]] = []
    for begin in range(0, len(texts), 4096):
        encoded = tokenizer.encode_batch_fast(texts[begin : begin + 4096], add_special_tokens=False)
        found += [np.array(each.ids, dtype=np.uint16) for each in encoded]
    return found
