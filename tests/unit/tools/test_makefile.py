"""What make tells everything that it runs: to keep what is kept in the project's own folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.needs import ROOT

KEPT = ("OPENLEDGER_CACHE", "HYPOTHESIS_STORAGE_DIRECTORY", "VLLM_CACHE_ROOT", "MPLCONFIGDIR", "BUF_CACHE_DIR")


@pytest.fixture
def told(tmp_path):
    """What a rule of make sees, by what make itself was told."""
    more = tmp_path / "more.mk"
    more.write_text("told:\n\t@env\n")

    def run(**environment: str) -> dict[str, str]:
        command = ("make", "-s", "-f", "Makefile", "-f", str(more), "told")
        around = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | environment
        done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    return run


def test_caches_are_in_the_project(told):
    found = told()
    assert {Path(found[name]).is_relative_to(ROOT / ".cache") for name in KEPT} == {True}


def test_a_cache_that_is_named_is_taken(told, tmp_path):
    found = told(OPENLEDGER_CACHE=str(tmp_path), BUF_CACHE_DIR="/home/ada/buf")
    assert found["MPLCONFIGDIR"] == str(tmp_path / "matplotlib")
    assert found["BUF_CACHE_DIR"] == "/home/ada/buf"
