"""Follow the contributors that a finished run did not follow, through the executor, and put all into one index.

What is finished is found, so a service or a worker that dies costs the part that it was at.  Progress is told as a
worker's reports are.  This module knows no database, and not what the trainings do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.factory import parts
from services.factory.parts import Plan
from services.factory.spec import FineTuneSpec
from services.kit.executor import Done, Executor, Report, Shard, run_all


async def follow(
    executor: Executor, run: Shard, spec: FineTuneSpec, done: Done, tell: Report, at_once: int
) -> tuple[Shard, Done]:
    """The shard whose index is of everybody, and the run's result with it; the run itself where it followed all.

    done: of the fine-tune's own shard `run`.  Raises `TaskFailed`.
    """
    plan = _plan(run, spec, done)
    if not plan.parts:
        return run, done
    joined = await executor.find(plan.join) or await _make(executor, plan, done, tell, at_once)
    for part in plan.parts:
        await executor.remove(part)  # their rows are in the joined index
    files = {**done.result["files"], **joined.result["files"]}
    return plan.join, Done(joined.output, {**done.result, "index_root": joined.result["index_root"], "files": files})


async def forget(executor: Executor, run: Shard, spec: FineTuneSpec) -> None:
    """Remove what is left of parts that nobody will finish; those that are finished stay, for another attempt."""
    done = await executor.find(run)
    for part in _plan(run, spec, done).parts if done is not None else ():
        await executor.discard(part)


async def _make(executor: Executor, plan: Plan, done: Done, tell: Report, at_once: int) -> Done:
    known = [await executor.find(part) for part in plan.parts]
    progress = _progress(tell, sum(one is not None for one in known), done.result["seconds"] / at_once)
    await run_all(executor, plan.parts, progress, at_once=at_once)
    count = len(plan.parts) + 1
    tell({"phase": "join", "step": count, "steps": count})
    [made] = await run_all(executor, [plan.join], lambda *_: None, at_once=1)
    return made


def _plan(run: Shard, spec: FineTuneSpec, done: Done) -> Plan:
    return parts.plan(run, spec, len(done.result["contributors"]), done.result["metrics"]["steps"])


def _progress(tell: Report, known: int, each: float) -> Callable[[int, int], None]:
    """known: how many were finished before; each: seconds that one is judged to take, until one has been made."""
    start = time.monotonic()

    def told(done: int, total: int) -> None:
        made = done - known
        seconds = (time.monotonic() - start) / made if made > 0 else each
        words = f"following contributors: {done + 1} of {total + 1} parts done"
        tell({"phase": words, "step": done + 1, "steps": total + 1, "seconds_left": seconds * (total - done)})

    return told
