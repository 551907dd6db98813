"""Which of the first traces in a log can go."""

from __future__ import annotations

import pytest

from services.openlora.retention import going
from services.openlora.sealing import Head


def account(offset: int, day: int):
    head = Head("accounts/0x" + "a" * 40, "leases/1", 1, "0" * 64, 1, 1, "stop", f"2026-01-{day:02}T00:00:00.000000Z")
    return offset, f"{offset:032}", head


ACCOUNTS = [account(5, 1), account(6, 2), account(7, 4), account(8, 3)]


@pytest.mark.parametrize(
    ("through", "before", "gone"),
    (
        (8, "2026-01-05T00:00:00.000000Z", [5, 6, 7, 8]),
        (6, "2026-01-05T00:00:00.000000Z", [5, 6]),
        (4, "2026-01-05T00:00:00.000000Z", []),
        (8, "2026-01-02T00:00:00.000000Z", [5]),
        (8, "2026-01-03T12:00:00.000000Z", [5, 6]),
        (8, "2026-01-01T00:00:00.000000Z", []),
    ),
    ids=("all", "what is acknowledged", "none is", "what is old", "none past the first that is young", "none is old"),
)
def test_only_the_first_go_and_only_what_is_acknowledged_and_old(through, before, gone):
    assert [offset for offset, _, _ in going(ACCOUNTS, through, before)] == gone
