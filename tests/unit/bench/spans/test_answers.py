from __future__ import annotations

import numpy as np
import pytest

from bench import spans
from bench.spans.corpus import BLOCK, Corpus
from openledger.spans.build import Document

TEXT = Corpus(
    documents=[Document(0, k, np.arange(1000 * k, 1000 * k + 600, dtype=np.uint16)) for k in range(4)],
    owners=["a"],
    fresh=[np.arange(50_000, 50_000 + size, dtype=np.uint16) for size in (100, 700)],
    about={},
)


def test_answers_are_what_their_kind_says_and_the_same_each_time() -> None:
    drawn = spans.answers(TEXT, 3)
    assert drawn == spans.answers(TEXT, 3)
    assert [one["kind"] for one in drawn] == [kind for kind in spans.KINDS for _ in range(3)]
    assert {(len(one["prompt"]), len(one["answer"])) for one in drawn} == {(64, 512)}
    share = {
        kind: np.mean([token < 50_000 for one in drawn if one["kind"] == kind for token in one["answer"]])
        for kind in spans.KINDS
    }
    assert share["fresh"] == 0
    assert share["quoting"] == pytest.approx(0.5, abs=0.1)
    assert share["slips"] == pytest.approx(11 / 12, abs=0.05)
    assert share["verbatim"] == share["patchwork"] == 1


def test_a_figure_is_of_all_runs_and_same_spans_are_counted_one_answer_in_five() -> None:
    drawn = [{"kind": kind} for kind in spans.KINDS for _ in range(5)]
    ours = {
        "milliseconds": [[float(k)] * 3 for k in range(25)],
        "cold_milliseconds": [1.0, 3.0],
        "spans": [[[0, 6, 1]]] * 25,
        "evidence": [1] * 25,
        "covered": [6] * 25,
        "own_memory_mb": 2.5,
    }
    theirs = {
        "milliseconds": [100.0] * 5,
        "cpu_milliseconds": [90.0] * 5,
        "spans": [[[0, 6, 1]], [[0, 6, 2]], [], [[0, 6, 1]], [[0, 6, 1]]],
        "bytes_per_token": 6.1,
        "build_seconds_per_million_tokens": 1.0,
    }
    rows = [spans._row(kind, drawn, ours, theirs) for kind in spans.KINDS]
    assert [row["same_spans"] for row in rows] == [1, 0, 0, 1, 1]
    found = spans.figures({"bytes_per_token": 6.0}, ours, theirs, rows)
    assert found["span_p50_ms"] == 12
    assert found["span_p95_ms_slowest_kind"] == 24
    assert found["same_spans"] == pytest.approx(0.6)
    assert (found["bytes_per_token"], found["own_memory_mb"], found["infini_gram_p50_ms"]) == (6.0, 2.5, 100)
    assert "infini_gram_p50_ms" not in spans.figures({}, ours, None, rows)


def test_a_file_is_cut_where_functions_and_classes_begin() -> None:
    text = "import os\n\n@cached\ndef a():\n    def inner(): ...\n\nasync def b(): ...\nclass C:\n    x = 1\n"
    assert BLOCK.split(text) == [
        "import os\n",
        "@cached",
        "def a():\n    def inner(): ...\n",
        "async def b(): ...",
        "class C:\n    x = 1\n",
    ]
