"""The worker's order, and what its failures are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit.executor import Shard
from services.kit.executor_worker import Order, _kind


@pytest.mark.parametrize("reports", (None, Path("/shared/reports-1")))
@pytest.mark.parametrize("memory", (None, 2**30))
def test_an_order_survives_being_sent(reports, memory):
    order = Order(Path("/shared"), Shard("a:b", {"n": [1, None, "ü\n"]}), {"A": "b"}, memory, reports)
    line = order.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Order.parse(line) == order


@pytest.mark.parametrize(
    ("error", "kind"),
    (
        (MemoryError(), "MemoryError"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "MemoryError"),
        (OSError(28, "No space left on device"), "DiskFull"),
        (FileNotFoundError(2, "No such file or directory"), "FileNotFoundError"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "RuntimeError"),
        (ValueError("out of memory lane"), "ValueError"),
    ),
)
def test_memory_and_disk_have_one_name_each(error, kind):
    assert _kind(error) == kind
