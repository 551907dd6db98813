"""What somebody should know before they pay for a fine-tune, in words.

Rules of thumb over counts, with the reason in each text.  They stop nothing, and they have seen no record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.factory import parts
from services.factory.counterfactual_plan import FEWEST, distinct, fewest, trainings
from services.factory.spec import FineTuneSpec

FEW_RECORDS, FEW_HELD_OUT = 50, 20
FEW_HALVES = 16
"""From simulations, see ``openledger.influence.agreement.over_queries_and_points``."""
MANY_VIEWS, BOLD_RATE = 10, 5e-3
SERVED_RANK = 16
"""That an OpenLoRA serves as it comes (its `max_rank`)."""
DROPPED_SHARE, DOMINANT_SHARE = 0.2, 0.5


@dataclass(frozen=True)
class Caution:
    """`code` is UPPER_SNAKE."""

    code: str
    message: str


@dataclass(frozen=True)
class Prospect:
    """What a fine-tune would be."""

    spec: FineTuneSpec
    records: int
    training: int
    held_out: int
    contributors: Mapping[str, int]
    """Records that would be trained on, by address."""
    seconds: float
    memory_bytes: int
    counterfactual_seconds: float = 0.0
    """Of the trainings again, among all seconds."""
    parts_seconds: float = 0.0
    """Of the trainings for further parts of the contributors, among all seconds."""
    credited_to_others: int = 0
    """Of the records."""


def cautions(prospect: Prospect, most_seconds: float, most_memory: int) -> list[Caution]:
    """most_seconds, most_memory: what a run may take here; 0 bytes where nobody said."""
    return [
        *_of_data(prospect),
        *_of_training(prospect),
        *_of_parts(prospect),
        *_of_audit(prospect),
        *_of_limits(prospect, most_seconds, most_memory),
    ]


def _of_data(p: Prospect) -> Iterator[Caution]:
    if p.training < FEW_RECORDS:
        yield Caution(
            "FEW_RECORDS",
            f"{p.training} records are few: expect the style to change and little to be learnt; {FEW_RECORDS} or more "
            "give a better picture",
        )
    if dropped := p.records - p.training - p.held_out:
        share = dropped / p.records
        if share > DROPPED_SHARE:
            yield Caution("MANY_DROPPED", f"{dropped} of {p.records} records cannot be used: see why before you start")
    if p.credited_to_others:
        yield Caution(
            "LIKE_EARLIER_RECORDS",
            f"{p.credited_to_others} of {p.records} records read like earlier ones of somebody else's: they are "
            "trained on, and whoever wrote that first is credited",
        )
    if len(p.contributors) == 1:
        yield Caution(
            "ONE_CONTRIBUTOR",
            "all records are one contributor's: everything that is paid for data goes to them, and nothing can be "
            "learnt about who contributed what",
        )
    elif p.contributors and max(p.contributors.values()) > DOMINANT_SHARE * p.training:
        most = max(p.contributors, key=lambda who: (p.contributors[who], who))
        yield Caution(
            "DOMINANT_CONTRIBUTOR",
            f"{p.contributors[most]} of {p.training} records are {most}'s: the others' part will be hard to tell from "
            "noise",
        )


def _of_training(p: Prospect) -> Iterator[Caution]:
    if p.spec.epochs >= MANY_VIEWS or (p.spec.epochs > 3 and p.training < FEW_RECORDS):
        yield Caution(
            "MEMORISING",
            f"each record is seen {p.spec.epochs} times: the model may learn records by heart and recite them; fewer "
            "epochs, more records, or patience above 0 help",
        )
    if p.held_out == 0:
        yield Caution("NOT_MEASURED", "no record is held out: nothing will say whether the model has become better")
    elif p.held_out < FEW_HELD_OUT:
        yield Caution(
            "ROUGHLY_MEASURED",
            f"{p.held_out} records are held out: whether the model has become better can be said only roughly; "
            f"{FEW_HELD_OUT} or more are better",
        )
    if p.spec.learning_rate > BOLD_RATE:
        yield Caution(
            "BOLD_LEARNING_RATE",
            f"a learning rate of {p.spec.learning_rate:g} is high for LoRA: training may fail with NAN_LOSS; 0.0002 to "
            "0.002 are usual",
        )
    if p.spec.rank > SERVED_RANK:
        yield Caution(
            "HIGH_RANK",
            f"an OpenLoRA as it comes serves ranks up to {SERVED_RANK}, and would refuse this adapter: its operator "
            f"sets OPENLEDGER_OPENLORA_MAX_RANK to {p.spec.rank} or more, at the cost of memory for every adapter",
        )
    if p.spec.dora:
        yield Caution(
            "NOT_ON_VLLM",
            "vLLM does not serve DoRA: an OpenLoRA whose engine is vLLM, as it is by default, will refuse this "
            "adapter; the transformers engine serves it, more slowly. Without dora both do",
        )


def _of_parts(p: Prospect) -> Iterator[Caution]:
    if (count := parts.count(p.spec, len(p.contributors))) > 1:
        yield Caution(
            "IN_PARTS",
            f"one training follows {p.spec.contributors_at_once} of {len(p.contributors)} contributors, so it is "
            f"repeated {count - 1} times: about {p.parts_seconds / 60:.0f} of {p.seconds / 60:.0f} minutes; a higher "
            "contributors_at_once takes fewer trainings and more memory",
        )


def _of_audit(p: Prospect) -> Iterator[Caution]:
    people, need = len(p.contributors), fewest(p.spec)
    if not p.spec.trained_again:
        return
    if people < need:
        yield Caution(
            "TOO_FEW_CONTRIBUTORS",
            f"training again as asked for needs the records of {need} contributors, and there are {people}: it would "
            "fail; leave out halves" + (" and leave_one_out" if people < FEWEST else ""),
        )
        return
    yield Caution(
        "TRAINED_AGAIN",
        f"it is trained again {trainings(p.spec, people)} times, to measure how far the paid scores can be trusted: "
        f"about {p.counterfactual_seconds / 60:.0f} of {p.seconds / 60:.0f} minutes",
    )
    if p.held_out == 0:
        yield Caution(
            "AUDIT_NOT_JUDGED",
            "no record is held out: trainings again give vectors, and nothing says how well scores agree with them",
        )
    if 0 < p.spec.halves < FEW_HALVES or distinct(people, p.spec.halves) < p.spec.halves:
        yield Caution(
            "FEW_HALVES",
            f"{distinct(people, p.spec.halves)} different halves of {people} contributors are few: agreement can be "
            f"said only roughly; {FEW_HALVES} or more are better",
        )


def _of_limits(p: Prospect, most_seconds: float, most_memory: int) -> Iterator[Caution]:
    if p.seconds > most_seconds:
        yield Caution(
            "LONG",
            f"it is judged to take {p.seconds / 60:.0f} minutes, and is stopped here after {most_seconds / 60:.0f}",
        )
    if 0 < most_memory < p.memory_bytes:
        yield Caution(
            "MUCH_MEMORY",
            f"it is judged to need {p.memory_bytes / 2**30:.1f} GiB, and there are {most_memory / 2**30:.1f}: smaller "
            "ranks, fewer layers, smaller batches or fewer contributors_at_once need less",
        )
