from __future__ import annotations

import re
from pathlib import Path

import pytest

from openledger import base_models, cache
from openledger.cache import cache_folder
from tests.needs import ROOT


@pytest.fixture
def unnamed(monkeypatch):
    monkeypatch.delenv("OPENLEDGER_CACHE", raising=False)


def test_a_checkouts_commands_keep_things_where_make_keeps_them(unnamed, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_ROOT", tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup.py").touch()
    assert cache_folder("x") == tmp_path / ".cache" / "x"
    assert (ROOT / "tools" / "setup.py").is_file()
    assert re.search(r"OPENLEDGER_CACHE \?= \$\(CURDIR\)/\.cache", (ROOT / "Makefile").read_text())


def test_what_was_installed_keeps_them_in_the_persons_cache(unnamed, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_ROOT", tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder("x") == tmp_path / ".cache" / "openledger" / "x"


def test_a_place_that_is_named_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path / "there"))
    assert cache_folder("x") == tmp_path / "there" / "x"
    assert (tmp_path / "there" / "x").is_dir()


def test_base_models_are_made_there(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path))
    monkeypatch.setattr(base_models, "_make", lambda model, folder, on_progress: folder.mkdir())
    assert base_models.locate("smollm2-135m-instruct").parent == tmp_path / "base-models"
