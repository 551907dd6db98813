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
_SHA256, _ADDRESS = re.compile(r"[0-9a-f]{64}\Z"), re.compile(r"0x[0-9a-f]{40}\Z")


class RunError(ValueError):
    """A run that cannot be; the message begins with the field."""


@dataclass(frozen=True)
class SnapshotPin:
    """datanets/{datanet}/snapshots/{version}, and its root in hex; an empty root is not pinned yet."""

    name: str
    root: str = ""


@dataclass(frozen=True)
class Replacement:
    """That a run takes a published one again, without some of its contributors.  Raises `RunError`."""

    revision: str
    """adapters/{adapter}/revisions/{digest}, of the run's own adapter."""
    training: str
    """SHA-256 of that revision's `training.json`, which has the order of its records."""
    without: tuple[str, ...]
    """Lower-case addresses, sorted; each of them is among those whom the revision was trained on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "without", tuple(sorted(self.without)))
        try:
            names.match("adapters/*/revisions/*", self.revision)
        except ValueError as error:
            raise RunError(f"replaces.revision: {error}") from error
        if not _SHA256.match(self.training):
            raise RunError("replaces.training must be 64 lower-case hex digits: the SHA-256 of its training.json")
        if not self.without or len(set(self.without)) < len(self.without):
            raise RunError("replaces.without must name whom to leave out, each once")
        if strange := [who for who in self.without if not _ADDRESS.match(who)]:
            raise RunError(f"replaces.without: {strange[0][:100]!r} is not a lower-case 0x address")


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
    replaces: Replacement | None = None

    def __post_init__(self) -> None:
        if self.replaces and names.match("adapters/*/revisions/*", self.replaces.revision)[0] != self.adapter:
            raise RunError(f"replaces.revision is not a revision of adapters/{self.adapter[:100]}")
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
