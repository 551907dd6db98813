"""Checks a receipt from its own bytes and the published artifacts; talks to no service and believes nobody.

Every check says in words what was checked, and what could not be: a trace is its payer's, and among the artifacts only
where its payer wanted that, which the receipt says.  One that should be there and is not is the receipt's fault; of a
private one what follows from the receipt itself is checked.  Not known here: whether the tokens in the trace are what
the payer was shown, whether the training was done as the lineage says, and who ought to have signed, unless that is
told.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from openledger import base_models, canonical, evidence, verify_adapter, verify_records
from openledger import receipt as receipts
from openledger import trace as traces
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.base_tokenizer import encoder
from openledger.evidence import Tolerance
from openledger.receipt import Receipt
from openledger.verify_case import Case, Check, NotReached, Step, Unchecked, Withheld, Wrong, must_equal, need, run
from openledger.verify_files import Files

if TYPE_CHECKING:
    from openledger.influence.gradient import Scorer

__all__ = ["Check", "Files", "Report", "Unchecked", "verify_receipt"]


@dataclass(frozen=True)
class Report:
    """All checks, in order, and the receipt when it could be read."""

    checks: tuple[Check, ...]
    receipt: Receipt | None

    @property
    def ok(self) -> bool:
        """Whether the receipt holds, and everything could be checked."""
        return all(check.ok for check in self.checks)

    @property
    def withheld(self) -> bool:
        """Whether all holds that can be checked without the trace, which is private and was not given."""
        return not self.ok and not self.failed

    @property
    def unchecked(self) -> tuple[Check, ...]:
        """The checks that could not be made."""
        return tuple(check for check in self.checks if check.ok is None)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something wrong."""
        return tuple(check for check in self.checks if check.ok is False)


def verify_receipt(
    data: bytes,
    artifacts: ArtifactStore | Files,
    base: Path | None = None,
    signer: str | None = None,
    tolerance: Tolerance | None = None,
    trace: bytes | None = None,
) -> Report:
    """Check a receipt's bytes.  Never raises for bad data: the report says what is wrong with it.

    `base` is the folder of the base model; without it the receipt's name for it is looked up among the known ones.
    `signer` is the lower-case address that must have signed.  `trace`: the trace's bytes, where they are not among the
    artifacts; without any, what needs it is not checked.  Of several receipts by the same `Files` what they have in
    common is hashed once.  Raises `Unchecked` when this machine is at fault: its disk, its memory, or what is not
    installed.
    """
    with tempfile.TemporaryDirectory(prefix="openledger-verify-") as folder:
        files = artifacts if isinstance(artifacts, Files) else Files(artifacts)
        case = Case(data, files, base, signer, tolerance or Tolerance(), Path(folder), trace)
        checks = [run(name, step, case) for name, step in _COMMON]
        adapter_checks = case.receipt is not None and bool(case.receipt.model.adapter)
        checks += [run(name, step, case) for name, step in (verify_adapter.STEPS if adapter_checks else ())]
        combines = case.lineage is not None and bool(case.lineage.combines)
        checks += [run(name, step, case) for name, step in (verify_adapter.OF_A_COMBINATION if combines else ())]
        with_records = case.receipt is not None and case.receipt.evidence.retrieval is not None
        last = (*_BASE, *(_OF_RECORDS if with_records else ()), *_LAST)
        checks += [run(name, step, case) for name, step in last]
        return Report(tuple(checks), case.receipt)


def _form(case: Case) -> str:
    case.receipt = receipts.parse(case.data)
    return f"an {case.receipt.version} document in canonical form (RFC 8785), SHA-256 {canonical.sha256(case.data)}"


def _signature(case: Case) -> str:
    receipt = case.the_receipt
    receipts.check_signature(receipt)
    if case.signer is None:
        return f"signed by {receipt.signer}, who is named in it (whether you trust that key is yours to say: --signer)"
    if receipt.signer != case.signer.lower():
        raise Wrong(f"signed by {receipt.signer}, not by {case.signer.lower()} as expected")
    return f"signed by {receipt.signer}, as expected"


def _sum(case: Case) -> str:
    receipt = case.the_receipt
    total = sum(receipt.shares.values())
    if total != receipt.fee:
        raise Wrong(f"the shares sum to {total}, the fee is {receipt.fee}")
    return f"{len(receipt.shares)} shares sum to the fee of {receipt.fee}, to the unit"


def _split(case: Case) -> str:
    receipt = case.the_receipt
    receipts.check_split(receipt)
    return f"the shares are exactly what rule {receipt.rule.digest()[:16]} makes of the scores and the fee"


def _trace_artifact(case: Case) -> str:
    named = case.the_receipt.trace_sha256
    if case.given is not None:
        must_equal({"SHA-256": (canonical.sha256(case.given), named)}, "the trace that was given", "the receipt")
    case.trace = traces.parse(_from_artifacts(case, named) if case.given is None else case.given)
    asked, answered = len(case.trace.prompt_token_ids), len(case.trace.completion_token_ids)
    fee = "" if case.trace.price is None else "; its fee is what its price makes of them"
    where = "among the artifacts" if case.given is None else "the one that was given"
    return f"the trace {named} is {where} ({asked} prompt tokens, {answered} answer tokens){fee}"


def _from_artifacts(case: Case, trace: str) -> bytes:
    try:
        return case.artifacts.get(trace)
    except ArtifactError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if case.the_receipt.published:
            raise Wrong(
                f"the trace {trace} is published, by this receipt, and is not among the artifacts: without it nobody "
                "can compute again what was measured"
            ) from None
        raise Withheld(
            f"the trace {trace} is private. Its payer has it (openledger receipt fetch), and can give it to you "
            "(--trace): what was asked and answered is in it"
        ) from None


def _agreement(case: Case) -> str:
    receipt, trace = case.the_receipt, case.the_trace
    pairs: dict[str, tuple[object, object]] = {
        "response": (receipt.response, trace.response),
        "payer": (receipt.payer, trace.payer),
        "lease": (receipt.lease, trace.lease),
        "fee": (receipt.fee, trace.fee),
        "platform fee": (receipt.platform_fee, trace.platform_fee),
        "base model": (receipt.model.base, trace.base),
        "base model's SHA-256": (receipt.model.base_sha256, trace.base_sha256),
        "adapter": (receipt.model.adapter, trace.adapter),
        "method": (receipt.method, evidence.method(trace)),
        "word on records": (receipt.evidence.retrieval is not None, trace.context is not None),
    }
    if receipt.end_time:
        pairs |= {
            "end": (receipt.end_time, trace.end_time),
            "word on who may have the trace": (receipt.published, trace.published),
        }
    must_equal(pairs, "the receipt", "what follows from the trace")
    if not trace.adapter and (receipt.model.index_root or receipt.developer):
        raise Wrong("the base model answered alone, yet the receipt names a contribution index or a developer")
    return "receipt and trace agree on response, payer, lease, fees, base model, adapter and method"


def _records(case: Case) -> str:
    trace, folder = case.the_trace, need(case.base_folder, "the base model")
    if trace.context is None:
        return "no records stood before the question"
    roots = {snapshot.name: snapshot.root for snapshot in case.lineage.snapshots} if case.lineage else {}
    return verify_records.check(trace.context, trace.prompt_token_ids, encoder(folder), roots)


def _base(case: Case) -> str:
    receipt = case.the_receipt
    folder = case.base
    if folder is None:
        if receipt.model.base not in base_models.REGISTRY:
            raise Wrong(f"no base model is known here as {receipt.model.base[:80]!r}: say where it is (--base FOLDER)")
        folder = case.files.locate(receipt.model.base)
    found = case.files.sha256(folder / "model.safetensors")
    must_equal({"SHA-256": (found, receipt.model.base_sha256)}, "the base model here", "the receipt")
    case.base_folder = folder
    return f"the base model here is the one that answered, SHA-256 {found}"


@lru_cache(maxsize=1)
def _scorer(base: Path) -> Scorer:
    """The base model, read once for any number of receipts."""
    from openledger.influence.gradient import Scorer

    return Scorer(base)


def _measurement(case: Case) -> str:
    receipt, trace = case.the_receipt, case.the_trace
    base = need(case.base_folder, "the base model")
    if receipt.model.adapter != trace.adapter:
        raise NotReached("a trace of the receipt's own model")
    if trace.adapter:
        need(case.index, "the contribution index")
    measured = evidence.measure(_scorer(base), trace, case.adapter, case.index)
    different = evidence.differences(measured, receipt.evidence, case.tolerance)
    if different:
        raise Wrong(different[0] + (f" (and {len(different) - 1} more differ)" if len(different) > 1 else ""))
    within = f"within {case.tolerance.score_millionths / 10_000:g} % of the largest"
    what = f"losses and {len(measured.scores)} scores ({within})" if trace.adapter else "the losses"
    if measured.retrieval:
        what += f" and by how much the records of {len(measured.retrieval.scores)} contributors are missed"
    moved = receipts.paid_otherwise(receipt, measured)
    money = f"{moved} of the fee of {receipt.fee} would go to others" if moved else "every unit would go where it went"
    return f"{what}, computed again from the answer's tokens on this machine, are those of the receipt; by them {money}"


_COMMON: tuple[tuple[str, Step], ...] = (
    ("form", _form),
    ("signature", _signature),
    ("sum", _sum),
    ("split", _split),
    ("trace", _trace_artifact),
    ("agreement", _agreement),
)
_BASE: tuple[tuple[str, Step], ...] = (("base", _base),)
_OF_RECORDS: tuple[tuple[str, Step], ...] = (("records", _records),)
_LAST: tuple[tuple[str, Step], ...] = (("measurement", _measurement),)
