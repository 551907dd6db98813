"""The trainings again of one fine-tune, each in a worker of its own, and what is learnt from all of them.

    run by an executor as "services.factory.counterfactual_task:retrain" and ":fit"

Plain functions of their arguments, which name every input by digest (`services.factory.counterfactual_plan`): the same
arguments give the same files.  They keep nothing between attempts: a worker that dies costs its own shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from openledger import canonical
from openledger.artifacts import file_sha256
from openledger.influence import counterfactual, index
from openledger.influence.decoder import Decoder
from openledger.influence.gradient import NotFinite, Scorer
from openledger.influence.index import ContributionIndex
from openledger.influence.lora import Adapter, attached
from openledger.influence.quantize import NAT
from openledger.influence.score import scores
from services.factory import audit, inputs, trunk_task, write
from services.factory.audit import FITTED, FITTED_INDEX, HALVES_INDEX, LEFT_OUT, LEFT_OUT_INDEX, PAID, Floats, Retrained
from services.factory.counterfactual import Retraining
from services.factory.data import Example
from services.factory.passes import Trunk, evaluate
from services.factory.progress import Diverged, Progress
from services.factory.training_run import initial, load_base
from services.factory.write import INDEX, TRAINING
from services.kit.executor import TaskContext

PRELOAD = inputs.PRELOAD
RETRAINED = "retrained.safetensors"


def retrain(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Train without some contributors, and measure the held-out records.

    arguments: the fine-tune's own, with steps and without (addresses).
    Leaves theta [P] and losses [Q]; says the SHA-256 of the adapter that theta is.  Raises Diverged.
    """
    given = inputs.load(arguments)
    training, held_out = given.split()
    without = arguments["without"]
    try:
        theta, losses, adapter = _trained(given, arguments, context)
    except Diverged as error:
        whom = f"{len(without)} contributors" if len(without) > 1 else "".join(without) or "leaving anybody out"
        raise Diverged(f"trained again without {whom}: {error}; or ask for no trainings again") from error
    if given.spec.quantise != "none":
        losses = served(given, theta, held_out)
    with inputs.room_in(context.output):
        save_file({"theta": theta, "losses": losses}, context.output / RETRAINED)
    return {"records": sum(example.contributor not in without for example in training), "adapter_sha256": adapter}


def fit(arguments: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Vectors from the retrained models, and the audit.

    arguments: the fine-tune's own, with run (its digest), steps, everybody, left_out, halves (digests of trainings
    again, left_out in the order of the contributors), masks (of the halves), and asked_halves.
    Returns files (SHA-256 by name) and words.
    """
    given, run = inputs.load(arguments), context.outputs(arguments["run"])
    paid = ContributionIndex.open(run / INDEX)
    files = {
        name: [context.outputs(digest) / RETRAINED for digest in arguments[name]]
        for name in ("everybody", "left_out", "halves")
    }
    masks = np.array([[member == "1" for member in mask] for mask in arguments["masks"]], dtype=bool)
    masks = masks.reshape(len(files["halves"]), len(paid.header.contributors))
    held_out = given.split()[1]
    asked = audit.draw(len(held_out), given.spec.seed)
    losses = {name: _losses(files[name], len(held_out)) for name in files}
    rises = audit.rises(losses["everybody"], losses["left_out"])
    everybody, left_out, half = (each[:, asked] for each in losses.values())
    found = Retrained(everybody, left_out, half, masks)
    indices = {PAID: paid}
    if files["left_out"]:
        indices[LEFT_OUT] = _left_out(paid, files["everybody"][0], files["left_out"])
    if found.fitted:
        indices[FITTED] = _fitted(paid, files["halves"][: found.fitted], masks[: found.fitted])
    published = {LEFT_OUT: LEFT_OUT_INDEX, FITTED: FITTED_INDEX}
    document = _audit(given, run, arguments, indices, found, [held_out[i] for i in asked], len(held_out))
    document = replace(document, rises=rises)
    with inputs.room_in(context.output):
        for kind, name in published.items():
            if kind in indices:
                (context.output / name).write_bytes(indices[kind].to_bytes())
        if files["halves"]:
            (context.output / HALVES_INDEX).write_bytes(_halves(paid, run, files["halves"]).to_bytes())
        (context.output / audit.FILE).write_bytes(document.to_bytes())
    return {
        "files": {file.name: file_sha256(file) for file in sorted(context.output.iterdir())},
        "words": document.words,
    }


def _trained(given: inputs.Inputs, arguments: Mapping[str, Any], context: TaskContext) -> tuple[Tensor, Tensor, str]:
    """Weights [P] of the model without some contributors, the held-out records' losses [Q], and its file's SHA-256."""
    training, held_out = given.split()
    decoder = load_base(given.spec, given.base)
    if file := trunk_task.found(arguments, context):
        below = Trunk(decoder, decoder.layers - given.spec.layers)
        below.load(file, [*training, *held_out])
    else:
        below = trunk_task.prepared(given.spec, decoder, training, held_out)
    again = Retraining(given.spec, below, training, given.plan(training))
    run = again.trained(arguments["without"], arguments["steps"], partial(_tell, context))
    with run.attached():
        losses, _ = run.evaluate(held_out)
    return run.theta, losses, canonical.sha256(write.adapter(run.adapter))


def _tell(context: TaskContext, step: int, steps: int) -> None:
    context.report(asdict(Progress("training", step, steps)))


def served(given: inputs.Inputs, theta: Tensor, held_out: Sequence[Example]) -> Tensor:
    """Their losses on the base as it is, where it was trained on in fewer bits: what is scored and served."""
    decoder = Decoder.load(given.base)
    adapter, weights = initial(given.spec, decoder)
    weights.copy_(theta)
    below = trunk_task.prepared(given.spec, decoder, (), held_out)
    with attached(decoder.model, adapter):
        return evaluate(below, held_out)[0]


def _losses(files: Sequence[Path], queries: int) -> Floats:
    """Of the held-out records under each model: [models, Q]."""
    rows = []
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            rows.append(tensors.get_tensor("losses").astype(np.float64))
    return np.array(rows, dtype=np.float64).reshape(len(files), queries)


def _theta(file: Path, part: slice = slice(None)) -> npt.NDArray[np.float32]:
    """Weights of a retrained model, or a part of them."""
    with safe_open(file, framework="numpy") as tensors:
        theta: npt.NDArray[np.float32] = tensors.get_slice("theta")[part]
    return theta


def _left_out(paid: ContributionIndex, everybody: Path, files: Sequence[Path]) -> ContributionIndex:
    """By how much each contributor moved the weights: the model of everybody, less that without."""
    whole = _theta(everybody)
    moved = {who: whole - _theta(file) for who, file in zip(paid.header.contributors, files, strict=True)}
    return index.build(paid.header.parameters, moved)


def _halves(paid: ContributionIndex, run: Path, files: Sequence[Path]) -> ContributionIndex:
    """By how much whoever is not in a half moved the weights: the adapter, less the model of that half.

    A row a half, in their order.  They are nobody's: who is in which, the audit says.
    """
    served = Adapter.load(run).tensors
    whole = np.concatenate([served[each.name].numpy().ravel() for each in paid.header.parameters])
    header = index.Header(paid.header.parameters, (), len(files))
    return index.quantised(header, (whole - _theta(file) for file in files))


def _fitted(paid: ContributionIndex, files: Sequence[Path], masks: npt.NDArray[np.bool_]) -> ContributionIndex:
    """The same by regression on who was there, a tensor at a time: all models at once may be more than memory holds."""
    vectors = np.empty((masks.shape[1], sum(paid.header.sizes)), dtype=np.float32)
    start = 0
    for size in paid.header.sizes:
        part = slice(start, start + size)
        vectors[:, part] = counterfactual.fit(masks, np.stack([_theta(file, part) for file in files]))
        start += size
    return index.build(paid.header.parameters, dict(zip(paid.header.contributors, vectors, strict=True)))


def _audit(
    given: inputs.Inputs,
    run: Path,
    arguments: Mapping[str, Any],
    indices: Mapping[str, ContributionIndex],
    found: Retrained,
    asked: Sequence[Example],
    held_out: int,
) -> audit.Audit:
    losses, scored = _scored(given.base, run, indices, asked)
    usable = audit.finite(scored, found) & np.isfinite(losses)
    found = Retrained(found.everybody[:, usable], found.left_out[:, usable], found.halves[:, usable], found.masks)
    judged = audit.judge({kind: each[usable] for kind, each in scored.items()}, found, given.spec.seed)
    again = np.abs(found.everybody - losses[usable])
    return audit.Audit(
        words=audit.words(judged, found, held_out, arguments["asked_halves"]),
        agreement=judged,
        held_out=held_out,
        judged=int(usable.sum()),
        repeat=round(float(again.max()), 6) if again.size else None,
        contributors=indices[PAID].header.contributors,
        left_out=LEFT_OUT in indices,
        halves=tuple(arguments["masks"]),
        fitted=found.fitted,
        asked_halves=arguments["asked_halves"],
        ridge=counterfactual.RIDGE,
        seed=given.spec.seed,
        steps=arguments["steps"],
        training=file_sha256(run / TRAINING),
    )


def _scored(
    base: Path, run: Path, indices: Mapping[str, ContributionIndex], held_out: Sequence[Example]
) -> tuple[Floats, dict[str, Floats]]:
    """Of each held-out record the adapter's loss [Q], and every index's scores [Q, C], as receipts make them; in nats.

    NaN where a record's loss or gradient is not finite.
    """
    scorer, people = Scorer(base), len(indices[PAID].header.contributors)
    losses = np.full(len(held_out), np.nan)
    result = {kind: np.full((len(held_out), people), np.nan) for kind in indices}
    for place, asked in enumerate(held_out):
        try:
            answer = scorer.answer(run, asked.prompt, asked.completion)
        except NotFinite:
            continue
        losses[place] = answer.nll_adapter / NAT
        for kind, each in indices.items():
            by_address = scores(answer.gradient, each).contributors
            result[kind][place] = [by_address[who] / NAT for who in each.header.contributors]
    return losses, result
