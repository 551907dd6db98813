"""What integration tests of several services use."""

from __future__ import annotations

import pytest

from tests.disks import Disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that a test can fill."""
    return Disk(monkeypatch)
