"""`python -m bench demo` without the demo: what it watches, and where its result goes."""

from __future__ import annotations

import json
import os
import sys

import pytest

from bench import demo, result

REPORT = {
    "engine": {"name": "vllm", "version": "1"},
    "model": {"loss_before": 3.0, "loss_after": 2.0},
    "responses": [{}] * 8,
    "settlement": {"claims": [{}] * 6},
    "conservation": {"difference": "0"},
    "seconds": {"train": 1.5},
}


@pytest.mark.parametrize(("quick", "file"), ((True, "demo-quick.json"), (False, "demo.json")))
def test_a_quick_run_never_takes_the_place_of_a_whole_one(monkeypatch, tmp_path, quick, file):
    def watched(command, out):
        assert ("--quick" in command) is quick
        out.write_text(json.dumps(REPORT))
        return 12.34, 2**30

    monkeypatch.setattr(demo, "watched", watched)
    monkeypatch.setattr(result, "FOLDER", tmp_path)
    demo.main(quick=quick)
    assert [each.name for each in tmp_path.iterdir()] == [file]
    figures = json.loads((tmp_path / file).read_text())["figures"]
    assert (figures["seconds"], figures["peak_memory_gb"]) == (12.3, 1.0)
    assert (figures["answers"], figures["claims"], figures["seconds_train"]) == (8, 6, 1.5)


def test_a_demo_that_is_not_done_in_time_has_ended_when_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "LIMIT_SECONDS", 0.6)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(SystemExit, match="not done after"):
        demo.watched([sys.executable, "-c", code], tmp_path / "out")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "out").read_text()), 0)


def test_a_demo_that_fails_is_no_result(tmp_path):
    with pytest.raises(SystemExit, match="status 3"):
        demo.watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "out")
