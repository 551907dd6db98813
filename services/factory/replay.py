"""A published run taken again without some of its contributors: the same steps, their records at weight 0.

Read from the `training.json` that the run left, which names its records, whom each is credited to, and the records of
every step.  Of those that are left out nothing is needed but their names.  This module reads no texts and trains
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from openledger import canonical
from services.factory.data import Example
from services.factory.schedule import Plan

VERSION = "openledger.training.v1"

Named = tuple[str, str]
"""A record's name, and the address of whoever is credited with it; "" for a canary, which is nobody's."""


class ReplayError(ValueError):
    """The run cannot be taken again so; the message says why."""


class RecordsMissing(ReplayError):
    """A record that is not left out is not there any more."""


@dataclass(frozen=True)
class Replay:
    """What is left of a run."""

    training: tuple[Named, ...]
    """In the order that the plan counts."""
    held_out: tuple[Named, ...]
    plan: Plan
    steps: int
    """After which the run's adapter was taken."""
    left_out: int
    """Training records that weigh 0."""

    @classmethod
    def of(cls, training_json: bytes, without: Collection[str]) -> Replay:
        """Raises ReplayError: the document is none, or these contributors are not in it, or nobody else is."""
        try:
            document = canonical.parse_json(training_json)
            known = document["version"] == VERSION
            training, held_out = ([(str(r), str(c)) for r, c in document[key]] for key in ("records", "held_out"))
            batches, steps = document["batches"], int(document["kept_step"])
            sizes = document.get("sizes") or list(map(len, batches))
        except (ValueError, KeyError, TypeError) as error:
            raise ReplayError(f"the run's training.json cannot be read: {error}") from error
        if not known:
            raise ReplayError(f"the run's training.json is of another version than {VERSION}")
        people = {contributor for _, contributor in training if contributor}
        if strangers := sorted(set(without) - people):
            raise ReplayError(f"{strangers[0]} is not among those whom the run was trained on")
        if not people - set(without):
            raise ReplayError("nobody would be left to train on")
        kept = [i for i, (_, contributor) in enumerate(training) if contributor not in without]
        return cls(
            tuple(training[i] for i in kept),
            tuple(one for one in held_out if one[1] not in without),
            Plan(batches, sizes).left(kept),
            steps,
            len(training) - len(kept),
        )

    @property
    def records(self) -> frozenset[str]:
        """Names of those whose texts it takes."""
        return frozenset(record for record, contributor in (*self.training, *self.held_out) if contributor)

    def split(self, examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
        """Training and held-out examples out of these, canaries included, credited as they were.

        Raises RecordsMissing.
        """
        found = {example.record: example for example in examples}
        missing = [f"{record} of {who}" for record, who in (*self.training, *self.held_out) if record not in found]
        if missing:
            raise RecordsMissing(
                f"records that were trained on and are not left out are not there any more: {missing[0]}, of "
                f"{len(missing)}; leave their contributors out as well, or tune anew on a snapshot that was cut later"
            )
        training, held_out = (
            [replace(found[record], contributor=who) for record, who in named]
            for named in (self.training, self.held_out)
        )
        return training, held_out
