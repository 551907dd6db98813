"""What is written of the methods: rows, figures, the picture; and how costs and spans are counted."""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import peers, result
from bench.peers import in_bergson, in_infini_gram, report, scene
from services.factory.data import Example


def row(library: str, method: str, lds: float, **more: Any) -> dict[str, Any]:
    agreed = {"lds": [lds, lds - 0.1, lds + 0.1], "leave_one_out": [lds / 2, 0.0, 0.6], "bytes_a_record": 0}
    return {"setting": "s", "library": library, "method": method, "measured_with": "dattri"} | agreed | more


ROWS = [
    row(*report.PAID, 0.9, bytes_a_record=60_000),
    row("openledger", "datainf", 0.5),
    row("dattri 0.3.0", "TRAK", 0.4),
    row("dattri 0.3.0", "LoGra", 0.6),
    {"setting": "s", "library": "dattri 0.3.0", "method": "EK-FAC", "error": "no", "measured_with": "dattri"},
]


def test_figures_are_of_what_is_paid_by_and_of_each_librarys_best() -> None:
    assert report.figures(ROWS) == {
        "lds_paid": 0.9,
        "loco_paid": 0.45,
        "lds_best_openledger": 0.9,
        "loco_best_openledger": 0.45,
        "lds_best_dattri": 0.6,
        "loco_best_dattri": 0.3,
    }


def test_the_picture_leaves_out_what_failed() -> None:
    assert report.picture(ROWS).startswith(b"\x89PNG")


def test_one_librarys_rows_replace_its_own_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "FOLDER", tmp_path)
    peers.write("peers", "dattri", ROWS)
    peers.write("peers", "bergson", [row("bergson 2.5.1", "EK-FAC", 0.7, measured_with="bergson")])
    peers.write("peers", "dattri", ROWS[:2])
    text = (tmp_path / "peers.json").read_text()
    assert "bergson" in text
    assert "LoGra" not in text
    assert (tmp_path / "peers.png").exists()


def test_an_unknown_library_is_named() -> None:
    with pytest.raises(SystemExit, match="kronfluence"):
        peers.main(quick=True, libraries=["kronfluence"])


def test_costs_are_processor_time_and_the_peak() -> None:
    begun = time.perf_counter()
    with scene.measured() as cost:
        time.sleep(0.3)
        # Pages of its own: what an allocator kept from before would be no more than was resident then.
        with mmap.mmap(-1, 2**27) as fresh:
            fresh.write(bytes(2**27))
    assert 0 < cost.seconds < time.perf_counter() - begun - 0.2, "sleeping is none of it"
    assert cost.megabytes > 100


def test_coverage_by_hand() -> None:
    owners = np.array([0, 0, 1, 2])
    spans = [(0, 3, [0, 1]), (2, 5, [2]), (4, 6, [1, 2])]
    assert in_infini_gram.coverage(spans, owners, 4).tolist() == [5, 4, 0, 0]


def test_bergson_is_given_the_same_tokens_and_only_the_completion_counts() -> None:
    line = in_bergson._line(Example("r", "0x0", (5, 6), (7, 8, 9)))
    assert line == '{"input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, 8, 9], "length": 5}\n'


def test_every_package_of_bergsons_venv_has_an_exact_version() -> None:
    assert in_bergson.packages()["bergson"] == in_bergson.VERSION
