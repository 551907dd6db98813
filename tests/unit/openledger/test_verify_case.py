"""`verify` on a machine that cannot check: it says so, and nothing about the receipt."""

from __future__ import annotations

import errno

import pytest

from openledger import base_models, evidence
from openledger.verify import Unchecked, verify_receipt


@pytest.mark.parametrize(
    ("error", "words"),
    (
        (MemoryError(), "memory is exhausted"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory is exhausted"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ModuleNotFoundError("No module named 'torch'"), r"pip install 'openledger\[model\]'"),
    ),
)
def test_trouble_of_the_machine_is_no_failed_check(published, signed, monkeypatch, error, words):
    def failing(*_):
        raise error

    monkeypatch.setattr(evidence, "measure", failing)
    with pytest.raises(Unchecked, match=f"measurement could not be checked on this machine: .*{words}"):
        published.check(signed)


def test_an_artifact_that_is_there_and_cannot_be_read_is_the_machines_trouble(world, signed):
    place = world.store.path(signed.trace_sha256)
    place.unlink()
    place.mkdir()
    with pytest.raises(Unchecked, match="trace could not be checked"):
        world.check(signed)


def test_a_base_model_that_is_not_installed_is_the_machines_trouble(published, signed, monkeypatch):
    def absent(name):
        raise base_models.BaseModelUnavailable(f"{name} is not installed: pip install it")

    monkeypatch.setitem(base_models.REGISTRY, signed.model.base, None)
    monkeypatch.setattr(base_models, "locate", absent)
    with pytest.raises(Unchecked, match="pip install it"):
        verify_receipt(signed.dumps(), published.store)


def test_a_folder_without_the_base_model_is_the_machines_trouble(published, signed, tmp_path):
    with pytest.raises(Unchecked, match=r"model\.safetensors"):
        verify_receipt(signed.dumps(), published.store, tmp_path)
