"""Everything that is measured of a tuned model before it is published, in one call.

Nothing is written, and the base model is left as it was found.  The same arguments give the same report on the same
machine and number of threads.  This module does not know where the examples are from, nor who may see the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example
from services.factory.evaluation import forgetting, held_out, membership, trivia, verbatim
from services.factory.evaluation.budget import Budget, in_turn, shuffled, within
from services.factory.evaluation.canaries import Canary
from services.factory.evaluation.chat import Reader
from services.factory.evaluation.exposure import expose
from services.factory.evaluation.forgetting import Forgetting
from services.factory.evaluation.generate import Answer, control_ids, greedy
from services.factory.evaluation.likelihood import Likelihood, OnWork, measurable, measure
from services.factory.evaluation.report import EvaluationReport
from services.factory.evaluation.samples import side_by_side
from services.factory.evaluation.verbatim import Verbatim
from services.factory.evaluation.verdict import Verdict, judge


@dataclass(frozen=True, eq=False)
class _Run:
    """What every measurement needs."""

    decoder: Decoder
    adapter: Adapter | None
    tokenizer: Any
    training: list[Example]
    held_out: list[Example]
    """Those that the budget has room for, in random order."""
    seed: int
    budget: Budget
    on_work: OnWork

    def likelihood(self, examples: Sequence[Example]) -> Likelihood:
        return measure(self.decoder, self.adapter, examples, self.on_work)

    def answers(self, examples: Sequence[Example], *, tuned: bool) -> list[Answer]:
        prompts = [example.prompt for example in examples]
        with attached(self.decoder.model, self.adapter) if tuned and self.adapter else nullcontext():
            ends = control_ids(self.tokenizer)
            return greedy(self.decoder.model, prompts, self.budget.new_tokens, ends, self.on_work)


def evaluate(
    decoder: Decoder,
    adapter: Adapter | None,
    tokenizer: Any,
    training: Sequence[Example],
    held_out_examples: Sequence[Example],
    *,
    seed: int,
    canaries: Sequence[Canary] = (),
    budget: Budget = Budget(),  # noqa: B008 - frozen
    on_work: OnWork = lambda: None,
) -> EvaluationReport:
    """Evaluate an adapter (None: the base model, against itself).

    training: all that was trained on; canaries among it are passed over.  on_work is called every second or so and may
    raise, to end the evaluation.  Raises AdapterError where the adapter does not fit the base.
    """
    planted = {canary.example.record for canary in canaries}
    trained = sorted((e for e in measurable(decoder, training) if e.record not in planted), key=lambda e: e.record)
    unseen = _first(shuffled(measurable(decoder, held_out_examples), seed), budget.held_out_tokens)
    run = _Run(decoder, adapter, tokenizer, trained, unseen, seed, budget, on_work)
    measured = run.likelihood(unseen)
    found = held_out.compare(unseen, measured, len(held_out_examples) - len(unseen), seed, budget.resamples)
    of_trained = run.likelihood(_first(shuffled(trained, seed), budget.trained_tokens))
    told = membership.compare(of_trained, measured, seed, budget.resamples)
    forgot = _forgetting(run)
    asked = _probes(run, unseen, max(budget.probes, budget.samples))
    tuned = run.answers(asked, tuned=True)
    recited = _verbatim(run, asked, tuned)
    shown = asked[: budget.samples]
    samples = side_by_side(shown, run.answers(shown, tuned=False), tuned[: len(shown)], Reader(tokenizer))
    exposed = expose(decoder, adapter, tokenizer, canaries, budget.canaries, budget.alternatives, seed, on_work)
    judgement = judge(found)
    warnings = [part.words for part in (forgot, recited, told, exposed) if part.warns]
    if judgement.verdict is Verdict.WORSE:
        warnings.insert(0, judgement.words)
    return EvaluationReport(
        judgement, tuple(warnings), found, forgot, recited, told, exposed, samples, seed, budget, _method(adapter)
    )


def _method(adapter: Adapter | None) -> str:
    if adapter is None:
        return ""
    return "DoRA" if adapter.config.dora else "LoRA"


def _first(examples: Sequence[Example], tokens: int) -> list[Example]:
    return list(examples[: within([example.length for example in examples], tokens)])


def _probes(run: _Run, examples: Sequence[Example], count: int) -> list[Example]:
    """Examples whose prompts are answered: some of everybody's, with room for an answer."""
    room = run.decoder.context - run.budget.new_tokens
    chosen = [example for example in in_turn(examples, run.seed) if len(example.prompt) <= room][:count]
    return chosen[: within([len(example.prompt) for example in chosen], run.budget.probe_tokens)]


def _forgetting(run: _Run) -> Forgetting:
    try:
        notice = trivia.notice()
        examples = [trivia.example(question, run.tokenizer) for question in trivia.questions(run.budget.trivia)]
    except trivia.TriviaUnavailable as error:
        return forgetting.not_measured(str(error))
    measured = run.likelihood(measurable(run.decoder, examples))
    return forgetting.compare(measured, notice, run.seed, run.budget.resamples)


def _verbatim(run: _Run, asked: Sequence[Example], answers: Sequence[Answer]) -> Verbatim:
    """What the model recites.  asked: held-out examples, and what the tuned model answered to their prompts."""
    known, ends = {example.prompt for example in run.training}, control_ids(run.tokenizer)

    def plain(examples: Sequence[Example]) -> list[Answer]:
        return [tuple(token for token in example.completion if token not in ends) for example in examples]

    trained = _probes(run, run.training, run.budget.probes)
    unseen = [(e, answer) for e, answer in zip(asked, answers, strict=True) if e.prompt not in known]
    people = zip(run.held_out, plain(run.held_out), strict=True)
    pairs = [*zip(trained, run.answers(trained, tuned=True), strict=True), *unseen, *people]
    masked = [verbatim.masked(answer, example.prompt) for example, answer in pairs]
    matches = verbatim.longest(masked, plain(run.training))
    count = len(trained) + len(unseen)
    compared = verbatim.compare(matches[: len(trained)], matches[len(trained) : count], matches[count:])
    best = max(range(count), key=lambda i: matches[i].length, default=-1)
    if best < 0 or not matches[best].length:
        return compared
    match = matches[best]
    excerpt = Reader(run.tokenizer).text(pairs[best][1][match.start : match.start + match.length])
    return verbatim.quoted(compared, run.training[match.text].record, excerpt)
