"""Checks in words: each runs after the others, and what it needs of them it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Wrong(Exception):
    """A check found something wrong; the text says what."""


class NotReached(Exception):
    """A check needs what an earlier one did not establish; the text names it."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.  `ok` is None when it could not be: what it needs failed before."""

    name: str
    ok: bool | None
    words: str


@dataclass(frozen=True)
class Report:
    """All checks, in order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether the epoch holds."""
        return all(check.ok for check in self.checks)

    @property
    def unsettled(self) -> bool:
        """Whether nothing was found wrong, and not everything could be checked."""
        return not self.ok and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something wrong."""
        return tuple(check for check in self.checks if check.ok is False)


def run(name: str, step: Callable[[T], str], case: T) -> Check:
    """Make a check; what it finds in what others wrote becomes words."""
    try:
        return Check(name, True, step(case))
    except NotReached as error:
        return Check(name, None, f"not checked: it needs {error}")
    except (Wrong, ValueError) as error:
        return Check(name, False, str(error))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        return Check(name, False, f"something in the files is not of the kind that it must be: {error!r}")


def need(value: T | None, what: str) -> T:
    """What an earlier check established."""
    if value is None:
        raise NotReached(what)
    return value
