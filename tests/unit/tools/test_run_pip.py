"""What set-up makes of pip's words."""

from __future__ import annotations

import pytest

from tools import run_pip
from tools.run_pip import NotOffered, Progress, SetupError, Unreachable, pip, say

ABSENT = """ERROR: Could not find a version that satisfies the requirement torch==9+cpu (from versions: 9)
ERROR: No matching distribution found for torch==9+cpu"""
BROKEN = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<HTTPSConnection>:
Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/torch/
"""
TORN = "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool: Read timed out."


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Let pip say something and end with a status."""

    def arrange(text: str, status: int = 1) -> None:
        (tmp_path / "said").write_text(text)
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\ncat {tmp_path}/said\nexit {status}\n")
        python.chmod(0o755)
        monkeypatch.setattr(run_pip, "PYTHON", python)
        monkeypatch.setattr(run_pip, "LOG", tmp_path / "setup.log")

    return arrange


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    (
        (ABSENT, NotOffered, "does not offer"),
        (BROKEN + ABSENT, Unreachable, "the network fails"),
        (BROKEN + "x\n" * 100 + ABSENT, Unreachable, "the network fails"),
        (TORN, SetupError, "the network fails"),
        ("OSError: [Errno 28] No space left on device", SetupError, "the disk is full"),
        ("something new", SetupError, "the lines above say why"),
    ),
)
def test_a_failure_is_what_it_is_and_says_what_to_do(says, said, kind, advice):
    says(said)
    with pytest.raises(SetupError, match=advice) as caught:
        pip("torch")
    assert type(caught.value) is kind


def test_what_succeeds_is_logged_and_nothing_is_said_on_stdout(says, capfd, tmp_path):
    says("Collecting torch\nDownloading torch-9-cp311.whl (200.0 MB)\nInstalling collected packages: torch\n", 0)
    progress = Progress(1)
    pip("--no-deps", "torch", progress=progress)
    progress.close()
    say("done")
    out, err = capfd.readouterr()
    assert out == ""
    assert "torch 9 (200.0 MB)" in err
    assert "-m pip install --no-deps torch" in (tmp_path / "setup.log").read_text()
