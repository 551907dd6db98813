"""Each reader of files, fed by a fuzzer that sees which way it goes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.file_rules import WHOLE
from tests.needs import ROOT, needs

SECONDS = 20


@needs("atheris")
@pytest.mark.long
@pytest.mark.parametrize("name", WHOLE)
def test_what_holds_of_any_file_holds_of_those_that_a_fuzzer_thinks_of(name, tmp_path):
    bounds = (f"-max_total_time={SECONDS}", "-timeout=20", "-rss_limit_mb=8192", f"-artifact_prefix={tmp_path}/")
    command = (sys.executable, "-m", "tests.fuzz.fuzz_files", name, *bounds)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Done " in ran.stderr
