"""A published run taken again by whoever has its records: what it had to do, and what it comes to.

    run by an executor as "services.factory.again_task:plan" and ":again"

Plain functions of their arguments, as all tasks are.  They compare nothing: what was published is not known here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from safetensors.torch import save_file

from openledger import canonical
from openledger.adapters import ADAPTER_FILES
from services.factory import inputs, write
from services.factory.claims import digest_of
from services.factory.counterfactual_task import served
from services.factory.parts_task import followed
from services.factory.training_run import initial
from services.kit.executor import TaskContext

PRELOAD = inputs.PRELOAD
MODEL = "model.safetensors"


def plan(arguments: dict[str, Any], _: TaskContext) -> dict[str, Any]:
    """What follows from records and specification.  arguments: the fine-tune's own.

    Returns the plan's digest, as `claims.planned` has it.
    """
    given = inputs.load(arguments)
    training, held_out = given.split()
    steps = given.plan(training)
    trained_on, kept = ([[example.record, example.contributor] for example in some] for some in (training, held_out))
    return {"plan": digest_of(trained_on, kept, steps.batches, steps.sizes)}


def again(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Train again, following a part of the contributors.  arguments: the fine-tune's own, with steps, and part.

    Leaves the adapter's configuration, the part's contribution index, weights before and after as vectors [P], and the
    held-out losses [Q] on the base as it is.
    Returns their mean on the base as it was trained on (null: there are none).  Raises Diverged, and what
    `services.factory.task.fine_tune` raises.
    """
    with inputs.room_in(context.output.parent):
        given = inputs.load(arguments)
        run, held_out = followed(given, arguments, context, lambda progress: context.report(asdict(progress)))
        with run.attached():
            losses, _ = run.evaluate(held_out)
        mean = float(losses.double().mean()) if held_out else None
        if given.spec.quantise != "none":
            losses = served(given, run.theta, held_out)
        (context.output / ADAPTER_FILES[0]).write_bytes(canonical.dumps(run.adapter.config.to_json()))
        write.index_file(context.output, run)
        save_file(
            {"theta": run.theta, "start": initial(given.spec, run.decoder)[1], "losses": losses}, context.output / MODEL
        )
    return {"loss": mean}
