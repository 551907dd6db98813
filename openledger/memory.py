"""Whether an error says that memory is exhausted, for which every library has words of its own."""

from __future__ import annotations

_WORDS = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "out of memory")


def is_exhausted(error: BaseException) -> bool:
    """Of `MemoryError`, of torch on a CPU and on a GPU, of C++, of the system."""
    says_so = any(words in str(error).lower() for words in _WORDS)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError) and says_so)
