from __future__ import annotations

import pytest

from openledger.memory import is_exhausted


@pytest.mark.parametrize(
    ("error", "exhausted"),
    (
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory lane"), False),
    ),
)
def test_whatever_words_a_library_has_for_it(error, exhausted):
    assert is_exhausted(error) is exhausted
