"""Who has the answer's words: infini-gram's engine (PyPI `infini-gram`, Apache-2.0), in the venv of the spans' bench.

Its index is of the completions that the model was trained on, without template. A contributor's score is the number of
the answer's tokens that lie in one of the engine's maximal spans which stands in a record of the contributor. No model,
no training: a baseline. This module knows no gradients.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench import venv
from bench.lds.study import Floats, Study
from bench.peers.arm import Arm, Failure
from bench.spans import peer
from bench.spans.corpus import Corpus
from openledger.spans.build import Document

LIBRARY = "infini-gram 2.6.0"
LEAST = (6, 3, 1)
"""Tokens in a span: the product's rule for evidence, trigrams, anything."""
QUERY = """
import json, sys, time
from infini_gram.engine import InfiniGramEngine
index, vocabulary = sys.argv[1], int(sys.argv[2])
def resident(which):
    lines = (line.split() for line in open("/proc/self/status"))
    return next(int(words[1]) / 1024 for words in lines if words[0] == which + ":")
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
begun = time.process_time()
engine = InfiniGramEngine(index_dir=index, eos_token_id=vocabulary - 1, vocab_size=vocabulary, version=4,
                          token_dtype="u16", precompute_unigram_logprobs=True, load_to_ram=True,
                          ds_prefetch_depth=0, sa_prefetch_depth=0, od_prefetch_depth=0)
opened = time.process_time() - begun
def spans(answer, least):
    found = engine.attribute(input_ids=answer, delim_ids=[], min_len=least, max_cnt=10**6, enforce_bow=False)["spans"]
    return [[span["l"], span["r"], sorted({engine.get_doc_by_ptr(s=doc["s"], ptr=doc["ptr"], max_disp_len=1)["doc_ix"]
             for doc in span["docs"]})] for span in found]
asked, rows = json.load(sys.stdin), {}
for least in asked["least"]:
    begun = time.process_time()
    found = [spans(answer, least) for answer in asked["answers"]]
    rows[least] = {"spans": found, "seconds": (time.process_time() - begun) / len(found)}
print(json.dumps({"opened": opened, "megabytes": resident("VmHWM") - before, "rows": rows}))
"""


def arms(study: Study) -> Iterator[Arm | Failure]:
    """One a length of spans."""
    try:
        with TemporaryDirectory(prefix="infini-gram-") as name:
            place = Path(name)
            python, text = peer.python(), _corpus(study)
            seconds = peer.index(python, text, place / "index", cpus=1)
            answers = [list(query.completion) for query in study.queries]
            asked = json.dumps({"answers": answers, "least": LEAST})
            found = json.loads(venv.run([python, "-c", QUERY, str(place / "index"), str(vocabulary(study))], asked))
            kept = sum(file.stat().st_size for file in (place / "index").iterdir() if file.is_file())
        for least in LEAST:
            yield _arm(study, least, found, seconds, kept)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error)
        yield Failure(LIBRARY, "all", said.strip()[-400:])


def _arm(study: Study, least: int, found: dict[str, Any], seconds: float, kept: int) -> Arm:
    row = found["rows"][str(least)]
    return Arm(
        LIBRARY,
        f"spans of at least {least} token{'s'[: least > 1]}",
        np.array([coverage(spans, study.owners, study.setting.contributors) for spans in row["spans"]]),
        seconds + found["opened"],
        row["seconds"],
        found["megabytes"],
        kept,
        "tokens",
        "the index is built by a program of its own: its seconds are by the clock",
    )


def coverage(spans: list[tuple[int, int, list[int]]], owners: np.ndarray[Any, Any], people: int) -> Floats:
    """Tokens of an answer in spans that stand in each contributor's records [C].

    spans: (start, end, documents); owners: of each document.
    """
    covered: list[set[int]] = [set() for _ in range(people)]
    for start, end, documents in spans:
        for owner in {int(owners[document]) for document in documents}:
            covered[owner].update(range(start, end))
    return np.array([len(tokens) for tokens in covered], dtype=np.float64)


def vocabulary(study: Study) -> int:
    """One more than the largest token."""
    return 1 + max(max(example.completion) for example in (*study.training, *study.queries))


def _corpus(study: Study) -> Corpus:
    documents = [
        Document(int(owner), number, np.array(example.completion, dtype=np.uint16))
        for number, (owner, example) in enumerate(zip(study.owners, study.training, strict=True))
    ]
    return Corpus(documents, [], [], {})
