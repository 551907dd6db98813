"""infini-gram's own engine (PyPI `infini-gram`, Apache-2.0) on the same tokens and answers, in a venv of its own.

Its index is made by its own tool from the tokens that ours is made of, and held in memory with prefetching off, which
is its fastest setting here.  What it is asked for is `attribute`, the call behind OLMoTrace: maximal spans of an answer
with counts and places.  It knows no owners and no prompt.  It was made for trillions of tokens on many cores and disks.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import venv
from bench.spans.corpus import Corpus
from openledger.cache import cache_folder

PACKAGES = ("infini-gram==2.6.0", "numpy==2.4.6", "tqdm==4.70.1")
SEPARATOR = b"\xff\xff"
QUERY = """
import json, sys, time
from infini_gram.engine import InfiniGramEngine
index, least, places, vocabulary = sys.argv[1], *map(int, sys.argv[2:])
engine = InfiniGramEngine(index_dir=index, eos_token_id=vocabulary - 1, vocab_size=vocabulary, version=4,
                          token_dtype="u16", precompute_unigram_logprobs=True, load_to_ram=True,
                          ds_prefetch_depth=0, sa_prefetch_depth=0, od_prefetch_depth=0)
ask = lambda answer: engine.attribute(input_ids=answer, delim_ids=[], min_len=least, max_cnt=places, enforce_bow=False)
answers = json.load(sys.stdin)
spans = [sorted([span["l"], span["r"], span["count"]] for span in ask(answer)["spans"]) for answer in answers]
milliseconds, cpu = [], []
for answer in answers:
    begun = time.perf_counter(), time.process_time()
    ask(answer)
    milliseconds.append(1000 * (time.perf_counter() - begun[0]))
    cpu.append(1000 * (time.process_time() - begun[1]))
print(json.dumps({"milliseconds": milliseconds, "cpu_milliseconds": cpu, "spans": spans}))
"""


def measure(text: Corpus, answers: list[list[int]], place: Path) -> tuple[dict[str, Any] | None, str]:
    """Of each answer milliseconds, by the clock and of CPU time, and spans [start, end, count] that are not too common.

    Also bytes a token, and time to build.  Or None, and why not.
    """
    from openledger.spans.evidence import Rule

    try:
        interpreter = python()
        seconds = index(interpreter, text, place)
        vocabulary = 1 + max(int(document.tokens.max()) for document in text.documents)  # type: ignore[union-attr]
        numbers = map(str, (Rule().min_tokens, Rule().max_places, vocabulary))
        said = venv.run([interpreter, "-c", QUERY, str(place), *numbers], json.dumps(answers))
        found: dict[str, Any] = json.loads(said)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error)
        print(f"infini-gram: {said}", file=sys.stderr)
        return None, said.strip()[-400:]
    size = sum(file.stat().st_size for file in place.iterdir() if file.name != "seconds")
    found["bytes_per_token"] = size / text.tokens
    found["build_seconds_per_million_tokens"] = seconds / text.tokens * 1e6
    return found, ""


def python() -> str:
    """That of a venv that has the package."""
    return venv.python(cache_folder("spans") / "venv", PACKAGES)


def index(interpreter: str, text: Corpus, place: Path, cpus: int = 2) -> float:
    """Make its index of the text; returns the seconds that its tool took.

    cpus: 1 for a text of a few thousand tokens, whose index two would fill with suffixes twice, and with places that do
    not exist.
    """
    shutil.rmtree(place, ignore_errors=True)
    (place / "none").mkdir(parents=True)
    starts, begin = [], 0
    with (place / "tokenized.0").open("wb") as file:
        for document in text.documents:
            starts.append(begin)
            begin += file.write(SEPARATOR + np.asarray(document.tokens, dtype="<u2").tobytes())
    (place / "offset.0").write_bytes(np.array(starts, dtype="<u8").tobytes())
    files = str(min(resource.getrlimit(resource.RLIMIT_NOFILE)))
    options = ["--token_dtype", "u16", "--cpus", str(cpus), "--mem", "8", "--ulimit", files]
    begun = time.perf_counter()
    folders = ["--data_dir", str(place / "none"), "--save_dir", str(place)]
    venv.run([interpreter, "-m", "infini_gram.indexing", *folders, *options])
    seconds = time.perf_counter() - begun
    for other in place.iterdir():
        if other.is_dir():
            shutil.rmtree(other)
    return seconds
