"""A receipt's case: what is given, what its checks have established, and how a check becomes words.

What a check finds wrong is the receipt's fault, unless it is this machine's: then nothing was found out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.base_models import BaseModelUnavailable
from openledger.evidence import Tolerance
from openledger.influence.index import ContributionIndex
from openledger.manifest import LineageManifest
from openledger.memory import is_exhausted
from openledger.receipt import Receipt
from openledger.trace import Trace
from openledger.verify_files import Files

T = TypeVar("T")


class Wrong(Exception):
    """A check found something wrong; the text says what."""


class NotReached(Exception):
    """A check needs what an earlier one did not establish."""


class Withheld(Exception):
    """What a check needs is private, and was not given; the text says what, and who has it."""


class Unchecked(Exception):
    """This machine could not check; the text says why.  It says nothing about the receipt."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.  `ok` is None when it could not be: what it needs failed before, or is not public."""

    name: str
    ok: bool | None
    words: str


@dataclass
class Case:
    """What is given, and what the checks have established so far."""

    data: bytes
    files: Files
    base: Path | None
    signer: str | None
    tolerance: Tolerance
    folder: Path
    given: bytes | None = None
    """The trace, where whoever checks has it."""
    receipt: Receipt | None = None
    trace: Trace | None = None
    lineage: LineageManifest | None = None
    adapter: Path | None = None
    index_file: Path | None = None
    index: ContributionIndex | None = None
    base_folder: Path | None = None

    @property
    def artifacts(self) -> ArtifactStore:
        """What is published."""
        return self.files.store

    @property
    def the_receipt(self) -> Receipt:
        """The receipt.  Raises `NotReached`."""
        return need(self.receipt, "the receipt")

    @property
    def the_trace(self) -> Trace:
        """The trace.  Raises `NotReached`."""
        return need(self.trace, "the trace")


Step = Callable[[Case], str]
"""A check: what was found, in words; raises what it found wrong, `NotReached` included."""


def run(name: str, step: Step, case: Case) -> Check:
    """Make a check.  Raises `Unchecked` for what is no fault of what is checked."""
    try:
        return Check(name, True, step(case))
    except NotReached as error:
        return Check(name, None, f"not checked: it needs {error}, which is missing or wrong")
    except Withheld as error:
        return Check(name, None, f"not checked: {error}")
    except Exception as error:  # whatever bad data can make a library raise is a failed check
        if is_this_machines(error):
            raise Unchecked(f"{name} could not be checked on this machine: {advice(error)}") from error
        return Check(name, False, str(error) or type(error).__name__)


def need(value: T | None, what: str) -> T:
    """What an earlier check established.  Raises `NotReached`."""
    if value is None:
        raise NotReached(what)
    return value


def must_equal(pairs: dict[str, tuple[object, object]], here: str, there: str) -> None:
    """Raises `Wrong` for the first pair, by what it is called, that is not the same here and there."""
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise Wrong(f"the {name} is {ours!r} in {here} and {theirs!r} in {there}")


def is_this_machines(error: BaseException | None) -> bool:
    """Disk, memory, or what is not installed; that an artifact is there is for whoever made the receipt to see to."""
    while error is not None:
        if isinstance(error, ArtifactError) and isinstance(error.__cause__, FileNotFoundError):
            return False
        if isinstance(error, OSError | ImportError | BaseModelUnavailable) or is_exhausted(error):
            return True
        error = error.__cause__
    return False


def advice(error: Exception) -> str:
    """What this machine lacks, in words."""
    if isinstance(error, ImportError):
        return f"{error}; pip install 'openledger[model]'"
    return "memory is exhausted" if is_exhausted(error) else str(error)
