"""From an answer to the evidence in its receipt: measured in one way, by the service and by whoever checks it.

Losses, and the gradient of the answer's tokens, are the only part that two machines may round differently; `Tolerance`
says how far their results may lie apart.  How much records before the question are missed is the answer's loss without
them.  Knows no money, and not where models and traces come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openledger.influence.index import ContributionIndex
from openledger.influence.score import scores
from openledger.split import NAT, Evidence, Retrieval
from openledger.trace import Trace

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer

SHADOW_TRAJECTORIES = "shadow-trajectories.v1"
"""Of an adapter's answer: one gradient, and its products with the vectors of the contribution index."""
BASE = "base.v1"
"""Of an answer by the base model alone: its loss, and nobody's scores."""


class LayoutError(ValueError):
    """Adapter and contribution index do not describe the same weights."""


@dataclass(frozen=True)
class Tolerance:
    """How far a measurement may lie from one of another machine.  The figures behind it: docs/receipts.md."""

    score_millionths: int = 1_000
    """Of the answer's largest |score| or standard error of a contributor; of a placebo's score, of all of them."""
    nll: int = NAT // 10_000
    """Of a loss, and of how much records are missed, in 2**-64 nat per token."""


def method(trace: Trace) -> str:
    """By which method an answer is measured."""
    return SHADOW_TRAJECTORIES if trace.adapter else BASE


def measure(scorer: Scorer, trace: Trace, adapter: Path | None, index: ContributionIndex | None) -> Evidence:
    """The evidence of one answer: by an adapter (its PEFT folder and its index), or by the base alone (neither).

    Raises `AnswerError` for an answer that cannot be measured, `AdapterError` for a bad adapter and `LayoutError` for
    an index of other weights.  Records in the prompt must have been checked (`Context.check`).
    """
    found = _trained(scorer, trace, adapter, index)
    return replace(found, retrieval=_retrieved(scorer, trace, adapter, found.nll_model))


def _trained(scorer: Scorer, trace: Trace, adapter: Path | None, index: ContributionIndex | None) -> Evidence:
    """All but what records before the question did."""
    if adapter is None or index is None:
        loss = scorer.base_loss(trace.prompt_token_ids, trace.completion_token_ids)
        return Evidence(nll_base=loss, nll_model=loss, scores={}, placebos=(), errors={})
    if scorer.parameters(adapter) != index.header.parameters:
        raise LayoutError("the contribution index and the adapter do not have the same tensors")
    answer = scorer.answer(adapter, trace.prompt_token_ids, trace.completion_token_ids)
    found = scores(answer.gradient, index)
    return Evidence(answer.nll_base, answer.nll_adapter, found.contributors, tuple(found.placebos), found.errors)


def _retrieved(scorer: Scorer, trace: Trace, adapter: Path | None, with_all: int) -> Retrieval | None:
    """What records before the question did: one forward pass for each whose they are, and two without any."""
    context, prompt, answer = trace.context, trace.prompt_token_ids, trace.completion_token_ids
    if context is None:
        return None
    bare, people = context.bare(prompt), sorted(set(context.authors()))
    nll_base = scorer.base_loss(bare, answer)
    nll_model = nll_base if adapter is None else scorer.loss(adapter, bare, answer)
    if len(people) == 1:
        return Retrieval(nll_base, nll_model, {people[0]: nll_model - with_all})
    losses = {who: scorer.loss(adapter, context.without(prompt, {who}), answer) for who in people}
    return Retrieval(nll_base, nll_model, {who: loss - with_all for who, loss in losses.items()})


def differences(ours: Evidence, theirs: Evidence, tolerance: Tolerance) -> list[str]:
    """What of `theirs` lies further from `ours` than it may, in words; empty when they agree."""
    found = [
        f"{name} is {_nats(claimed)} nat per token, computed again it is {_nats(measured)}"
        for name, claimed, measured in (
            ("the loss under the base model", theirs.nll_base, ours.nll_base),
            ("the loss under the tuned model", theirs.nll_model, ours.nll_model),
        )
        if abs(claimed - measured) > tolerance.nll
    ]
    if theirs.scores.keys() != ours.scores.keys() or len(theirs.placebos) != len(ours.placebos):
        return [*found, "the receipt scores other contributors, or another number of placebos"]
    found += _differences_of_scores(ours, theirs, tolerance.score_millionths)
    return [*found, *_differences_of_records(ours.retrieval, theirs.retrieval, tolerance.nll)]


def _differences_of_scores(ours: Evidence, theirs: Evidence, millionths: int) -> Iterable[str]:
    """Nobody is paid by a placebo, so a long one widens what contributors' scores may be by nothing."""
    people = [(who, theirs.scores[who], ours.scores[who]) for who in sorted(ours.scores)]
    people += [
        (f"{who}, its standard error,", theirs.errors.get(who, -1), ours.errors[who]) for who in sorted(ours.errors)
    ]
    placebos = [(f"placebo {k}", theirs.placebos[k], ours.placebos[k]) for k in range(len(ours.placebos))]
    for pairs, beside in ((people, people), (placebos, [*people, *placebos])):
        largest = max((abs(measured) for _, _, measured in beside), default=0)
        for who, claimed, measured in pairs:
            if abs(claimed - measured) * 1_000_000 > millionths * largest:
                yield f"the score of {who} is {_nats(claimed)} nat, computed again it is {_nats(measured)}"


def _differences_of_records(ours: Retrieval | None, theirs: Retrieval | None, tolerance: int) -> Iterable[str]:
    if ours is None or theirs is None:
        if ours is not theirs:
            yield "records stood before the question and the receipt says nothing of them, or the other way round"
        return
    if not theirs.scores.keys() <= ours.scores.keys():
        yield "the receipt credits records before the question to other contributors"
        return
    pairs = [
        ("the loss under the base model without records", theirs.nll_base, ours.nll_base),
        ("the loss under the tuned model without records", theirs.nll_model, ours.nll_model),
    ]
    # Whom a receipt does not name has no more than nothing: whose records were not missed is not told.
    pairs += [
        (f"what {who}'s records are missed by", theirs.scores.get(who, min(0, score)), score)
        for who, score in ours.scores.items()
    ]
    for name, claimed, measured in pairs:
        if abs(claimed - measured) > tolerance:
            yield f"{name} is {_nats(claimed)} nat per token, computed again it is {_nats(measured)}"


def _nats(units: int) -> str:
    """For people's eyes alone."""
    return f"{units / NAT:.9g}"
