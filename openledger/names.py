"""Resource names (AIP-122): how things are called in every API, and how their parts are taken out again."""

from __future__ import annotations

import re
from functools import lru_cache

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{1,100}\Z")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


def match(pattern: str, name: str) -> tuple[str, ...]:
    """The parts of `name` at the pattern's stars: `match("datanets/*/records/*", ...)` gives two.

    Raises `ValueError` when the name is not of that form.
    """
    wanted, parts = pattern.split("/"), name.split("/")
    if len(wanted) != len(parts) or any(w not in ("*", p) for w, p in zip(wanted, parts, strict=True)):
        raise ValueError(f"{name[:120]!r} is not a name of the form {pattern}")
    found = tuple(p for w, p in zip(wanted, parts, strict=True) if w == "*")
    if not all(_SEGMENT.match(p) for p in found):
        raise ValueError(f"{name[:120]!r} has a part that is empty, too long or has characters no name has")
    return found


@lru_cache(maxsize=2**16)  # the same addresses come again and again, in every receipt
def address(text: str) -> str:
    """An address in the form used inside names and documents: lower-case.  Raises `ValueError` if it is none."""
    if not _ADDRESS.match(text):
        raise ValueError(f"{text[:60]!r} is not an address: 0x and 40 hex digits")
    return text.lower()


def account(text: str) -> str:
    """`accounts/{address}` for an address."""
    return f"accounts/{address(text)}"


@lru_cache(maxsize=2**16)
def account_address(name: str) -> str:
    """The address in `accounts/{address}`."""
    return address(match("accounts/*", name)[0])
