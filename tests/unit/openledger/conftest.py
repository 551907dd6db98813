"""A published adapter and the receipt of one of its answers, made once for all tests that look at receipts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from openledger.artifacts import ArtifactStore
from openledger.receipt import Receipt, sign

if TYPE_CHECKING:
    from tests.receipt_world import World


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> World:
    # Loaded here: most tests of this folder have nothing to do with models, and start faster without.
    from services.factory import data
    from tests import published as publishing
    from tests import tiny_model
    from tests.receipt_world import World

    folder = tmp_path_factory.mktemp("published")
    base = tiny_model.make(folder / "base", layers=3, width=32)
    adapter = publishing.publish(ArtifactStore(folder / "artifacts"), base, folder / "trained")
    tokenizer = data.load_tokenizer(base)
    completion = tokenizer("It is 2, says 1.", add_special_tokens=False)["input_ids"]
    return World(
        base, folder / "artifacts", folder, adapter, data.prompt_ids("1 times 2?", tokenizer), (*completion, 2)
    )


@pytest.fixture(scope="session")
def unsigned(published) -> Receipt:
    return published.receipt(published.trace())


@pytest.fixture(scope="session")
def signed(unsigned) -> Receipt:
    from tests.receipt_world import KEY

    return sign(unsigned, KEY)


@pytest.fixture
def world(published, tmp_path) -> World:
    """A copy of the artifacts that a test may damage."""
    shutil.copytree(published.artifacts, tmp_path / "artifacts")
    return replace(published, artifacts=tmp_path / "artifacts", work=tmp_path)
