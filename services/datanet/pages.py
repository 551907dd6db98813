"""Pages of lists: opaque tokens that belong to one question, and pages that fit into one message."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from services.kit.errors import invalid

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9-]+\Z")

DEFAULT_SIZE = 50
PAGE_BYTES = 2**20
"""What the rows of one message may weigh; a row alone may weigh more."""


def size(asked: int) -> int:
    """How many rows a page has at most."""
    return asked or DEFAULT_SIZE


def token(question: str, key: Sequence[int | str]) -> str:
    """Where the next page of this question's answers begins: after the row with that key."""
    return base64.urlsafe_b64encode(json.dumps([question, *key]).encode()).decode()


def after(question: str, page_token: str, kinds: Sequence[type]) -> tuple[int | str, ...] | None:
    """The key in a token; `None` for the first page.

    Raises `Fault` when the token was not made for this question, with a key of these kinds.
    """
    if not page_token:
        return None
    try:
        asked, *key = json.loads(base64.urlsafe_b64decode(page_token))
    except (binascii.Error, ValueError, TypeError):
        raise _bad() from None
    # What no token ever held must not reach a database: numbers beyond 64 bits, texts that are no names.
    whole = all(abs(part) < 2**63 if isinstance(part, int) else _NAME.match(str(part)) for part in key)
    if asked != question or [type(part) for part in key] != list(kinds) or not whole:
        raise _bad()
    return tuple(key)


def cut(rows: Sequence[T], limit: int, weigh: Callable[[T], int], most: int = PAGE_BYTES) -> tuple[list[T], bool]:
    """The rows of one page, at least one if there is one, and whether there are more after them."""
    page: list[T] = []
    weight = 0
    for row in rows[:limit]:
        weight += weigh(row)
        if page and weight > most:
            break
        page.append(row)
    return page, len(page) < len(rows)


def _bad() -> Exception:
    return invalid(
        "BAD_PAGE_TOKEN",
        "page_token: is not one that the same question was answered with; begin again without it",
        "page_token",
    )
