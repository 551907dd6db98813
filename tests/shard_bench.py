"""Does a fine-tune's shards of work in this process, one after the other, each once: what any executor must come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from services.factory import counterfactual_task, parts_task, task, trunk_task
from services.factory.counterfactual_plan import Plan, plan
from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard, TaskContext

WORK = {
    "fine_tune": task.fine_tune,
    "follow": parts_task.follow,
    "join": parts_task.join,
    "trunk": trunk_task.trunk,
    "retrain": counterfactual_task.retrain,
    "fit": counterfactual_task.fit,
}


class Bench:
    """Outputs under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._results: dict[str, dict[str, Any]] = {}

    def done(self, shard: Shard) -> dict[str, Any]:
        """A shard's result."""
        digest, name = shard.digest(), shard.task.partition(":")[2]
        if digest not in self._results:
            output, scratch = self.root / digest, self.root / f".{digest}"
            output.mkdir(parents=True)
            scratch.mkdir()
            context = TaskContext(output, scratch, lambda _: None, self.root.joinpath)
            self._results[digest] = json.loads(json.dumps(WORK[name](dict(shard.arguments), context)))
            assert name in ("fine_tune", "follow") or list(scratch.iterdir()) == [], "nothing is left to clear away"
        return self._results[digest]

    def output(self, shard: Shard) -> Path:
        return self.root / shard.digest()

    def all(self, run: Shard, spec: FineTuneSpec) -> Plan:
        """Everything from the trunk to the fit."""
        if below := trunk_task.shard(run.arguments):
            self.done(below)
        done = self.done(run)
        made = plan(run, spec, list(done["contributors"]), done["metrics"]["steps"])
        for one in (*made.retrainings, made.fit):
            self.done(one)
        return made
