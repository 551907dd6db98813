from __future__ import annotations

import subprocess
from importlib import metadata

import pytest

import openledger
from services.factory import provenance


@pytest.fixture(autouse=True)
def anew():
    provenance.code.cache_clear()
    provenance.key.cache_clear()
    yield
    provenance.code.cache_clear()
    provenance.key.cache_clear()


def test_the_code_is_named_with_its_libraries_its_sources_and_its_commit(monkeypatch):
    monkeypatch.setattr(provenance, "_commit", lambda root: "c0ffee")
    told = provenance.code()
    for part in (f"openledger {openledger.__version__}", f"torch {metadata.version('torch')}", "sources ", "c0ffee"):
        assert part in told
    for library in ("transformers", "tokenizers", "peft"):
        assert f"{library} {metadata.version(library)}" in told


def test_a_checkout_names_its_commit_and_what_is_none_has_none(tmp_path):
    assert provenance._commit(tmp_path) == ""
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert len(provenance._commit(tmp_path)) == 40


def test_other_sources_other_libraries_and_nothing_else_make_another_key(monkeypatch, tmp_path):
    first = provenance.key()
    monkeypatch.setattr(provenance, "_commit", lambda root: "another")
    provenance.key.cache_clear()
    assert provenance.key() == first
    monkeypatch.setattr(provenance, "_version", lambda library: f"{library} 99")
    provenance.key.cache_clear()
    assert provenance.key() != first


def test_every_change_of_a_source_and_of_its_place_counts(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    seen = [provenance.sources([tmp_path / "a"])]
    (tmp_path / "a" / "notes.txt").write_text("no source")
    assert provenance.sources([tmp_path / "a"]) == seen[0]
    (tmp_path / "a" / "x.py").write_text("2")
    seen.append(provenance.sources([tmp_path / "a"]))
    (tmp_path / "a" / "x.py").rename(tmp_path / "a" / "y.py")
    seen.append(provenance.sources([tmp_path / "a"]))
    assert len(set(seen)) == 3
