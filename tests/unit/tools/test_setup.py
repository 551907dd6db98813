"""Set-up's choices: which torch, what a machine must have, which groups."""

from __future__ import annotations

import subprocess

import pytest

from tools import setup
from tools.run_pip import NotOffered, SetupError, Unreachable

OWN, CPU_INDEX, ORDINARY = "pip's own index", "the index of CPU builds", "the ordinary build"


@pytest.fixture
def tried(monkeypatch):
    """Where torch was looked for, in order; `tried.fails[place]` is what is raised there."""

    class Tried(list):
        fails: dict[str, Exception]
        index = ""

    found = Tried()
    found.fails = {}

    def pip(*arguments: str) -> None:
        index = arguments[arguments.index("--index-url") + 1] if "--index-url" in arguments else ""
        place = CPU_INDEX if index else OWN if arguments[-1].endswith("+cpu") else ORDINARY
        found.append(place)
        found.index = index or found.index
        if place in found.fails:
            raise found.fails[place]

    monkeypatch.setattr(setup, "pip", pip)
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup, "TORCH_INDEX", "")
    monkeypatch.setattr(setup.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    return found


def test_a_cpu_build_that_pips_own_index_has_is_taken(tried):
    setup.install_torch("9.0")
    assert tried == [OWN]


def test_where_it_has_none_torchs_index_of_cpu_builds_is_asked(tried):
    """As on any machine that has PyPI and nothing else."""
    tried.fails = {OWN: NotOffered()}
    setup.install_torch("9.0")
    assert tried == [OWN, CPU_INDEX]
    assert tried.index == "https://download.pytorch.org/whl/cpu"


def test_an_index_that_is_named_is_asked_in_its_stead(tried, monkeypatch):
    monkeypatch.setattr(setup, "TORCH_INDEX", "https://mirror/cpu")
    tried.fails = {OWN: NotOffered()}
    setup.install_torch("9.0")
    assert (tried, tried.index) == ([OWN, CPU_INDEX], "https://mirror/cpu")


@pytest.mark.parametrize("absent", (NotOffered(), Unreachable()))
def test_where_nobody_has_one_the_ordinary_build_is_taken_and_its_size_is_told(tried, absent, capsys):
    tried.fails = {OWN: NotOffered(), CPU_INDEX: absent}
    setup.install_torch("9.0")
    assert tried == [OWN, CPU_INDEX, ORDINARY]
    assert "several GB" in capsys.readouterr().err


@pytest.mark.parametrize("error", (Unreachable("network"), SetupError("disk")))
@pytest.mark.parametrize("place", (OWN, CPU_INDEX))
def test_what_may_pass_is_no_reason_to_download_gigabytes(tried, monkeypatch, place, error):
    monkeypatch.setattr(setup, "TORCH_INDEX", "https://mirror/cpu")
    tried.fails = {OWN: NotOffered(), place: error}
    with pytest.raises(SetupError) as caught:
        setup.install_torch("9.0")
    assert caught.value is error
    assert ORDINARY not in tried


def test_a_download_that_breaks_off_is_no_reason_either(tried):
    tried.fails = {OWN: NotOffered(), CPU_INDEX: SetupError("Read timed out")}
    with pytest.raises(SetupError, match="Read timed out"):
        setup.install_torch("9.0")
    assert ORDINARY not in tried


def test_elsewhere_than_on_linux_the_ordinary_build_is_the_cpu_build(tried, monkeypatch):
    monkeypatch.setattr(setup.sys, "platform", "darwin")
    setup.install_torch("9.0")
    assert tried == [ORDINARY]


def test_a_missing_compiler_is_told_before_anything_is_downloaded(monkeypatch):
    monkeypatch.setattr(setup, "has_numa", lambda: False)
    monkeypatch.setattr(setup, "COMPILER", "no-such-compiler")
    with pytest.raises(SetupError, match="a C compiler is missing"):
        setup.check_machine(["runtime"])
    setup.check_machine(["dev"])  # it compiles nothing


def test_a_machine_with_libnuma_needs_no_compiler(monkeypatch):
    monkeypatch.setattr(setup, "has_numa", lambda: True)
    monkeypatch.setattr(setup, "COMPILER", "no-such-compiler")
    monkeypatch.setattr(setup, "DISK_MIB", {"runtime": 0})
    setup.check_machine(["runtime"])


def test_too_little_disk_is_told_with_how_much_is_needed(monkeypatch):
    monkeypatch.setattr(setup, "has_numa", lambda: True)
    monkeypatch.setattr(setup, "DISK_MIB", {"runtime": 10**12})
    with pytest.raises(SetupError, match="1000000000000 MiB of disk space are needed"):
        setup.check_machine(["runtime"])


@pytest.mark.parametrize(
    ("dev", "bench", "node", "groups"),
    (
        (False, False, False, ["runtime"]),
        (True, False, True, ["runtime", "dev", "ray"]),
        (True, False, False, ["runtime", "dev", "ray", "node"]),
        (False, True, True, ["runtime", "dev", "ray", "bench"]),
    ),
)
def test_a_group_is_installed_for_those_who_need_it(monkeypatch, dev, bench, node, groups):
    monkeypatch.setattr(setup, "has_node", lambda: node)
    assert setup.groups_for(dev=dev, bench=bench) == groups
