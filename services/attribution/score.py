"""The verb: from a trace to its receipt.  A pure function of the trace, the published artifacts and the terms.

What cannot be attributed is said with a reason (docs/errors/attribution.md); nobody is charged for it.  Knows no
database, no network and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openledger import evidence, split
from openledger.context import ContextError
from openledger.grade import Grade, trust_bps
from openledger.influence.index import ContributionIndex
from openledger.influence.quantize import QuantizeError
from openledger.manifest import LineageManifest
from openledger.memory import is_exhausted
from openledger.receipt import Model, Receipt
from openledger.trace import Trace

if TYPE_CHECKING:  # it loads torch
    from openledger.influence.gradient import Scorer


class Unattributable(Exception):
    """No receipt can be made of this trace, now or later."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True)
class Terms:
    """By which rule fees are split, and who the platform is (a lower-case address)."""

    rule: split.Rule
    platform: str


@dataclass(frozen=True, eq=False)
class Revision:
    """An adapter revision, checked and open: its manifest, its PEFT folder, and its index."""

    lineage: LineageManifest
    folder: Path
    index: ContributionIndex


def measure(scorer: Scorer, trace: Trace, revision: Revision | None) -> split.Evidence:
    """The evidence of an answer.  Raises `Unattributable`, and `MemoryError` and `OSError`, which may pass."""
    _check_records(scorer, trace)
    folder, index = (revision.folder, revision.index) if revision else (None, None)
    try:
        return _measured(scorer, trace, folder, index)
    except Unattributable as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
        # What a library raises so may be the machine's fault, and not the answer's: once more.
        return _measured(scorer, trace, folder, index)


def _measured(scorer: Scorer, trace: Trace, folder: Path | None, index: ContributionIndex | None) -> split.Evidence:
    from openledger.influence import gradient, lora

    try:
        return evidence.measure(scorer, trace, folder, index)
    except gradient.EmptyAnswer as error:
        raise Unattributable("EMPTY_ANSWER", str(error)) from error
    except gradient.UnknownToken as error:
        raise Unattributable("TOKEN_OUTSIDE_VOCABULARY", str(error)) from error
    except gradient.AnswerTooLong as error:
        raise Unattributable("TOO_LONG", str(error)) from error
    except (gradient.NotFinite, QuantizeError) as error:
        raise Unattributable("NOT_FINITE", str(error)) from error
    except (lora.AdapterError, evidence.LayoutError) as error:
        raise Unattributable("ADAPTER_UNUSABLE", str(error)) from error
    except (OSError, MemoryError):
        raise  # may pass
    except Exception as error:
        if is_exhausted(error):
            raise MemoryError(str(error)) from error
        # A pure function that failed will fail again: the traces behind this one must not wait for it.
        raise Unattributable("MEASUREMENT_FAILED", f"{type(error).__name__}: {error}") from error


def _check_records(scorer: Scorer, trace: Trace) -> None:
    """Raises `Unattributable` unless every record before the question is whose it is said to be, and stands there."""
    if trace.context is None:
        return
    try:
        trace.context.check(trace.prompt_token_ids)
        trace.context.check_tokens(trace.prompt_token_ids, scorer.encode)
    except ContextError as error:
        raise Unattributable("BAD_RECORDS", str(error)) from error


def _missed(found: split.Retrieval | None) -> split.Retrieval | None:
    """Without those whose records are not missed: none is paid for them, and whose they are is nobody's business."""
    if found is None:
        return None
    return replace(found, scores={who: score for who, score in found.scores.items() if score > 0})


def receipt(
    trace: Trace, revision: Revision | None, measured: split.Evidence, terms: Terms, grade: Grade | None
) -> Receipt:
    """The receipt, not yet signed.  grade: the model's, where it has one.

    Raises `Unattributable` when the fee cannot be split.
    """
    trust = trust_bps(grade, terms.rule)
    measured = replace(measured, trust_bps=trust, retrieval=_missed(measured.retrieval))
    try:
        shares = split.split_fee(trace.fee, trace.platform_fee, measured, terms.rule)
    except ValueError as error:
        raise Unattributable("BAD_FEE", str(error)) from error
    return Receipt(
        response=trace.response,
        trace_sha256=trace.digest(),
        payer=trace.payer,
        lease=trace.lease,
        model=Model(
            base=trace.base,
            base_sha256=trace.base_sha256,
            adapter=trace.adapter,
            index_root=revision.lineage.index_root if revision else "",
        ),
        method=evidence.method(trace),
        rule=terms.rule,
        evidence=measured,
        fee=trace.fee,
        platform_fee=trace.platform_fee,
        shares=shares,
        developer=revision.lineage.owner if revision else "",
        platform=terms.platform,
        grade=grade.digest() if grade and trust != split.BASIS_POINTS else "",
        end_time=trace.end_time,
        published=trace.published,
    )
