"""Which contributors one training follows, and the trainings that follow the others, as shards of work.

    run, which follows the first part -> one shard for each further part -> join

Contributors do not interact, and the weights' path does not depend on who is followed: every part takes the run's own
steps. The specification says how many are followed at once, so it alone decides the bytes. This module neither trains
nor runs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard

TASKS = "services.factory.parts_task"


@dataclass(frozen=True)
class Plan:
    """What follows a run that could not follow everybody."""

    parts: tuple[Shard, ...]
    """Of all parts but the first; none where there are no more contributors."""
    join: Shard
    """Makes one index of all parts."""


def count(spec: FineTuneSpec, contributors: int) -> int:
    """Parts of so many contributors; at least one."""
    return max(1, -(-contributors // spec.contributors_at_once))


def members(spec: FineTuneSpec, contributors: Sequence[str], part: int) -> list[str]:
    """Whom a part follows, counted from 0: neighbours in the order of addresses, which is that of an index's rows."""
    first = part * spec.contributors_at_once
    return sorted(contributors)[first : first + spec.contributors_at_once]


def plan(run: Shard, spec: FineTuneSpec, contributors: int, steps: int) -> Plan:
    """run: the fine-tune's own shard, finished; steps: after which its adapter was taken.

    contributors: that it was trained on.
    """
    given = {**run.arguments, "run": run.digest(), "steps": steps}
    shards = tuple(Shard(f"{TASKS}:follow", given | {"part": part}) for part in range(1, count(spec, contributors)))
    digests = [shard.digest() for shard in shards]
    return Plan(shards, Shard(f"{TASKS}:join", {"run": run.digest(), "parts": digests}))
