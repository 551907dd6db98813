"""A whole run: everything that decides an adapter's bytes, apart from the machine.

What is pinned (a base model's hash, a snapshot's root) must be found again; what is not pinned yet is taken as it is
when the run is admitted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from openledger import names
from services.factory.licence import Use
from services.factory.spec import FineTuneSpec

MAX_SNAPSHOTS = 16
ADAPTER = re.compile(r"[a-z](?:[a-z0-9-]{1,61}[a-z0-9])\Z")
"""As the API's ids: 3 to 63 lower-case letters, digits and dashes, a letter first, no dash last."""


class RunError(ValueError):
    """A run that cannot be; the message begins with the field."""


@dataclass(frozen=True)
class SnapshotPin:
    """datanets/{datanet}/snapshots/{version}, and its root in hex; an empty root is not pinned yet."""

    name: str
    root: str = ""


@dataclass(frozen=True)
class Run:
    """What is to be made, from what, how, and what for.  Raises `RunError`."""

    adapter: str
    snapshots: tuple[SnapshotPin, ...]
    spec: FineTuneSpec
    """The base model's name is in here."""
    use: Use = Use.COMMERCIAL
    base_sha256: str = ""
    """Of the base model's weights; empty is not pinned yet."""

    def __post_init__(self) -> None:
        if not ADAPTER.match(self.adapter):
            raise RunError(
                f"adapter {self.adapter[:100]!r} is not an id: 3 to 63 lower-case letters, digits and dashes, a letter "
                "first, no dash last"
            )
        # Sorted: the order in which they are named decides nothing.
        object.__setattr__(self, "snapshots", _checked(self.snapshots))


def _checked(snapshots: Iterable[SnapshotPin]) -> tuple[SnapshotPin, ...]:
    ordered = tuple(sorted(snapshots, key=lambda pin: pin.name))
    if not 1 <= len(ordered) <= MAX_SNAPSHOTS:
        raise RunError(f"snapshots must be 1 to {MAX_SNAPSHOTS}, there are {len(ordered)}")
    for pin in ordered:
        try:
            names.match("datanets/*/snapshots/*", pin.name)
        except ValueError as error:
            raise RunError(f"snapshots: {error}") from error
    for one, other in itertools.pairwise(ordered):
        if one.name == other.name:
            raise RunError(f"snapshots names {one.name} twice")
    return ordered
