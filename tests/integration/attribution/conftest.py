"""Artifacts once a module, peers and a copy of the artifacts for each test."""

from __future__ import annotations

import pytest

from tests.attribution_world import Artifacts, world


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Artifacts:
    return Artifacts.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
async def around(tmp_path, made):
    async with world(tmp_path, made.copy(tmp_path / "artifacts")) as everything:
        yield everything
