"""Run the trainings again of a fine-tune through the executor, once the fine-tune itself is trained.

What is finished is found, so a service or a worker that dies costs what it was at.  Progress is told as a worker's
reports are.  This module knows no database, and not what the trainings do.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from services.factory import counterfactual_plan as plans
from services.factory import parts
from services.factory.counterfactual_plan import Plan
from services.factory.lines import parse
from services.factory.spec import FineTuneSpec
from services.kit.executor import Done, Executor, Report, Shard, run_all


async def retrain(
    executor: Executor,
    run: Shard,
    spec: FineTuneSpec,
    done: Done,
    tell: Report,
    at_once: int,
    indexed: Shard | None = None,
) -> Done:
    """What all trainings again say together.

    run: the fine-tune's own shard; done: of the one with everybody's contribution index, `indexed` or else `run`.
    Raises `TooFewContributors`, `TaskFailed`.
    """
    plan = await asyncio.to_thread(_plan, run, spec, done, indexed)
    return await executor.find(plan.fit) or await _make(executor, plan, tell, at_once)


async def _make(executor: Executor, plan: Plan, tell: Report, at_once: int) -> Done:
    count = len(plan.retrainings)
    # The run's own is still there, unless the run itself was found made.
    if plan.trunk is not None and await executor.find(plan.trunk) is None:
        tell({"phase": "trunk", "step": 0, "steps": count})
        await run_all(executor, [plan.trunk], _silent, at_once=1)
    known = [await executor.find(shard) for shard in plan.retrainings]
    progress = _progress(tell, sum(one is not None for one in known))
    await run_all(executor, plan.retrainings, progress, at_once=at_once)
    tell({"phase": "fit", "step": count, "steps": count})
    [made] = await run_all(executor, [plan.fit], _silent, at_once=1)
    return made


def contributors(records: bytes) -> int:
    """Of a file of records: as many as there can be among those that are trained on."""
    return len({record.contributor for record in parse(records)})


def foretold(tell: Report, spec: FineTuneSpec, people: int, at_once: int) -> Report:
    """Takes reports of the run itself: what they say is left also counts the further trainings that will follow."""
    share = plans.tokens(spec, people, 1000) / 1000 * plans.cost(spec) / at_once
    share += math.ceil((parts.count(spec, people) - 1) / at_once)
    start = time.monotonic()

    def report(said: dict[str, Any]) -> None:
        left = said.get("seconds_left")
        if left is not None:
            said = said | {"seconds_left": left + share * (time.monotonic() - start + left)}
        tell(said)

    return report


def _plan(run: Shard, spec: FineTuneSpec, done: Done, indexed: Shard | None) -> Plan:
    people, steps = done.result["contributors"], done.result["metrics"]["steps"]
    plans.check(spec, len(people))
    return plans.plan(run, spec, list(people), steps, indexed)


def _progress(tell: Report, known: int) -> Callable[[int, int], None]:
    """known: how many were finished before."""
    start = time.monotonic()

    def told(done: int, total: int) -> None:
        made = done - known
        left = (time.monotonic() - start) / made * (total - done) if made > 0 else None
        words = f"training again without some contributors: {done} of {total} done"
        tell({"phase": words, "step": done, "steps": total, "seconds_left": left})

    return told


def _silent(*_: int) -> None:
    """Of one shard there is nothing to count."""
