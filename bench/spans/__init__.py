"""Span evidence: milliseconds an answer, bytes a token, time to build and memory; beside infini-gram's engine.

    python -m bench spans            100 MB of text, 100 answers of 512 tokens of each kind
    python -m bench spans --quick    4 MB, 20 answers of each kind, under a minute; the same code

The text is source and documentation of freely licensed Python projects (`bench.spans.corpus`), in SmolLM2's tokens.  A
document is a function or class; an owner is a part of a project, since what is measured is time and memory, not whose
the text is.  The answers:

- fresh: other text of the same projects, with their idiom and boilerplate;
- quoting: the same, half of it replaced by quotations of 8 to 64 tokens;
- slips: one document, with a token in every twelve replaced;
- verbatim: one document, word for word;
- patchwork: pieces of 6 to 12 tokens from everywhere in the text: about the most spans that there can be.

Each engine runs in a process of its own, all answers once to warm up and then three times; a figure is of all runs, by
the clock, and `*_cpu_*` of processor time, which others on the machine do not lengthen as much.
The file is in the page cache, but for `span_cold_*`, where its pages are dropped before each answer.  Memory is the
process's own (anonymous), and apart from that the file's pages that it has touched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import result
from bench.spans import peer
from bench.spans.corpus import Corpus, corpus
from openledger.cache import cache_folder

TOKENS, PROMPT_TOKENS, ROUNDS, SALT = 512, 64, 3, bytes(32)
PEER_EVERY = 5
"""Of so many answers infini-gram is asked for one, once to warm up and once more."""
KINDS = ("fresh", "quoting", "slips", "verbatim", "patchwork")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    megabytes: int
    answers: int
    """Of each kind."""


FULL, QUICK = Size(100, 100), Size(4, 20)


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/spans.json, or spans-quick.json."""
    size = QUICK if quick else FULL
    text, load = corpus(size.megabytes), os.getloadavg()[0]
    drawn = answers(text, size.answers)
    place = cache_folder("spans") / f"{size.megabytes}-answers.json"
    place.write_text(json.dumps(drawn))
    built = _in_its_own_process("build", size)
    ours = _in_its_own_process("ours", size)
    asked = [one["answer"] for one in drawn[::PEER_EVERY]]
    theirs, missing = peer.measure(text, asked, cache_folder("spans") / f"{size.megabytes}-infini-gram")
    settings = (
        vars(size) | {"quick": quick, "answer_tokens": TOKENS, "rounds": ROUNDS, "load_at_start": load} | text.about
    )
    if missing:
        settings["infini_gram_missing"] = missing
    rows = [_row(kind, drawn, ours, theirs) for kind in KINDS]
    name = "spans-quick" if quick else "spans"
    print(result.write(name, figures(built, ours, theirs, rows), seed=0, settings=settings, rows=rows))


def figures(
    built: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any] | None, rows: list[dict[str, Any]]
) -> dict[str, float]:
    """Milliseconds over all answers, and of the slowest kind; bytes a token; building; memory in MiB."""
    every = [one for taken in ours["milliseconds"] for one in taken]
    found = {
        "span_p50_ms": statistics.median(every),
        "span_p95_ms": _percentile(every, 95),
        "span_p95_ms_slowest_kind": max(row["p95_ms"] for row in rows),
        "span_cold_p50_ms": statistics.median(ours["cold_milliseconds"]),
        "span_cold_p95_ms": _percentile(ours["cold_milliseconds"], 95),
        **{key: value for key, value in (built | ours).items() if isinstance(value, int | float)},
    }
    if theirs:
        found |= {
            "infini_gram_p50_ms": statistics.median(theirs["milliseconds"]),
            "infini_gram_p95_ms": _percentile(theirs["milliseconds"], 95),
            "infini_gram_cpu_p50_ms": statistics.median(theirs["cpu_milliseconds"]),
            "infini_gram_bytes_per_token": theirs["bytes_per_token"],
            "infini_gram_build_seconds_per_million_tokens": theirs["build_seconds_per_million_tokens"],
            "same_spans": statistics.mean(row["same_spans"] for row in rows),
        }
    return {key: round(value, 4) for key, value in found.items()}


def _row(kind: str, drawn: list[dict[str, Any]], ours: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, Any]:
    mine = [k for k, one in enumerate(drawn) if one["kind"] == kind]
    taken = [one for k in mine for one in ours["milliseconds"][k]]
    row = {
        "kind": kind,
        "answers": len(mine),
        "p50_ms": round(statistics.median(taken), 3),
        "p95_ms": round(_percentile(taken, 95), 3),
        "maximal_spans": statistics.mean(len(ours["spans"][k]) for k in mine),
        "evidence_spans": statistics.mean(ours["evidence"][k] for k in mine),
        "tokens_in_evidence": statistics.mean(ours["covered"][k] for k in mine),
    }
    if theirs:
        asked = [k for k in mine if k % PEER_EVERY == 0]
        row |= {
            "infini_gram_p50_ms": round(statistics.median(theirs["milliseconds"][k // PEER_EVERY] for k in asked), 3),
            "same_spans": statistics.mean(ours["spans"][k] == theirs["spans"][k // PEER_EVERY] for k in asked),
        }
    return row


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def answers(text: Corpus, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many prompts and answers of each kind."""
    draw = random.Random(seed)
    long = [k for k, document in enumerate(text.documents) if len(document.tokens) >= TOKENS]
    drawn = []
    for kind in KINDS:
        for _ in range(count):
            fresh = _fresh(text, draw)
            prompt, answer = fresh[:PROMPT_TOKENS], fresh[PROMPT_TOKENS:]
            if kind == "quoting":
                answer = _quoting(text, draw, answer)
            elif kind == "patchwork":
                answer = [token for piece in _pieces(text, draw, 6, 12) for token in piece][:TOKENS]
            elif kind != "fresh":
                answer = _piece(text.documents[draw.choice(long)].tokens, draw, TOKENS)
                if kind == "slips":
                    answer = [token if draw.random() > 1 / 12 else draw.choice(fresh) for token in answer]
            drawn.append({"kind": kind, "prompt": prompt, "answer": answer})
    return drawn


def _fresh(text: Corpus, draw: random.Random) -> list[int]:
    """Prompt and answer from what is not in the text."""
    tokens: list[int] = []
    while len(tokens) < PROMPT_TOKENS + TOKENS:
        tokens += draw.choice(text.fresh).tolist()
    return tokens[: PROMPT_TOKENS + TOKENS]


def _quoting(text: Corpus, draw: random.Random, answer: list[int]) -> list[int]:
    mixed: list[int] = []
    for piece in _pieces(text, draw, 8, 64):
        mixed += [*piece, *answer[: len(piece)]]
        answer = answer[len(piece) :]
        if len(mixed) >= TOKENS:
            break
    return mixed[:TOKENS]


def _pieces(text: Corpus, draw: random.Random, least: int, most: int) -> Iterator[list[int]]:
    total = 0
    while total < TOKENS:
        piece = _piece(draw.choice(text.documents).tokens, draw, draw.randint(least, most))
        total += len(piece)
        yield piece


def _piece(tokens: Any, draw: random.Random, length: int) -> list[int]:
    begin = draw.randrange(max(len(tokens) - length, 0) + 1)
    piece: list[int] = tokens[begin : begin + length].tolist()
    return piece


def build_index(size: Size) -> dict[str, float]:
    """Build the file; seconds, bytes and peak memory."""
    from openledger.spans.build import build

    text = corpus(size.megabytes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun, worked = time.perf_counter(), time.process_time()
    file = build(text.documents, owners=len(text.owners), salt=SALT)
    seconds, worked = time.perf_counter() - begun, time.process_time() - worked
    _place(size).write_bytes(file)
    return {
        "bytes_per_token": len(file) / text.tokens,
        "file_mb": len(file) / 2**20,
        "build_seconds": seconds,
        "build_cpu_seconds": worked,
        "build_seconds_per_million_tokens": seconds / text.tokens * 1e6,
        "build_peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "build_memory_before_mb": before,
    }


def query(size: Size) -> dict[str, Any]:
    """Ask for the evidence of every answer; milliseconds, maximal spans that are not too common, and memory."""
    from openledger.spans.evidence import find
    from openledger.spans.index import SpanIndex

    drawn = json.loads((cache_folder("spans") / f"{size.megabytes}-answers.json").read_text())
    before = _resident()
    begun = time.perf_counter()
    index = SpanIndex.open(_place(size))
    opened = time.perf_counter() - begun
    spans = [find(index, one["prompt"], one["answer"]) for one in drawn]
    milliseconds: list[list[float]] = [[] for _ in drawn]
    cpu: list[float] = []
    for _ in range(ROUNDS):
        for taken, one in zip(milliseconds, drawn, strict=True):
            begun, worked = time.perf_counter(), time.process_time()
            find(index, one["prompt"], one["answer"])
            taken.append(1000 * (time.perf_counter() - begun))
            cpu.append(1000 * (time.process_time() - worked))
    after = _resident()
    return {
        "open_ms": 1000 * opened,
        "span_cpu_p50_ms": statistics.median(cpu),
        "span_cpu_p95_ms": _percentile(cpu, 95),
        "own_memory_mb": after["RssAnon"] - before["RssAnon"],
        "file_pages_mb": after["RssFile"] - before["RssFile"],
        "milliseconds": milliseconds,
        "spans": [_maximal(index, one["answer"]) for one in drawn],
        "evidence": [len(each) for each in spans],
        "covered": [len({k for span in each for k in range(span.start, span.end)}) for each in spans],
        "cold_milliseconds": _cold(size, drawn),
    }


def _maximal(index: Any, answer: list[int]) -> list[list[int]]:
    """[start, end, count] of what infini-gram is asked for too."""
    from openledger.spans.evidence import Rule
    from openledger.spans.match import Matches

    matches = Matches(index, index.symbols(answer), Rule().min_tokens)
    places = [(start, end, matches.places(start, end, Rule().max_places)) for start, end in matches.maximal()]
    return [[start, end, len(found)] for start, end, found in places if found is not None]


def _cold(size: Size, drawn: list[dict[str, Any]]) -> list[float]:
    """Every fifth answer, each on an index opened anew whose pages were dropped from the page cache."""
    from openledger.spans.evidence import find
    from openledger.spans.index import SpanIndex

    taken = []
    for one in drawn[::5]:
        handle = os.open(_place(size), os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
        begun = time.perf_counter()
        index = SpanIndex.open(_place(size))
        find(index, one["prompt"], one["answer"])
        taken.append(1000 * (time.perf_counter() - begun))
        del index
    return taken


def _place(size: Size) -> Path:
    return cache_folder("spans") / f"{size.megabytes}-index"


def _resident() -> dict[str, float]:
    """This process's memory in MiB, by kind."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[0].startswith("Rss")}


def _in_its_own_process(arm: str, size: Size) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.spans", arm, str(size.megabytes), str(size.answers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    brief = {key: value for key, value in measured.items() if isinstance(value, int | float)}
    print(f"{arm}: {brief}", file=sys.stderr, flush=True)
    return measured


def one_arm() -> None:
    """Command line of one process: prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description="One arm; prints what was measured as JSON.")
    parser.add_argument("arm", choices=("build", "ours"))
    parser.add_argument("megabytes", type=int)
    parser.add_argument("answers", type=int)
    asked = parser.parse_args()
    size = Size(asked.megabytes, asked.answers)
    print(json.dumps(build_index(size) if asked.arm == "build" else query(size)))
