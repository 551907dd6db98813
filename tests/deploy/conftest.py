"""The chart's profiles, rendered once."""

from __future__ import annotations

from typing import Any

import pytest

from tools import chart


@pytest.fixture(scope="session", params=sorted(chart.PROFILES))
def profile(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def rendered(profile: str) -> list[dict[str, Any]]:
    """Every object of a profile."""
    return chart.objects(chart.render(profile))
