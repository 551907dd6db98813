"""Checks a receipt from its own bytes and the published artifacts; talks to no service and believes nobody.

Every check says in words what was checked.  Not known here: whether the tokens in the trace are what the payer was
shown, whether the training was done as the lineage says, and who ought to have signed, unless that is told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openledger import base_models, canonical, evidence, names, verify_grade, verify_records
from openledger import grade as grades
from openledger import receipt as receipts
from openledger import trace as traces
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore, file_sha256
from openledger.base_tokenizer import encoder
from openledger.evidence import Tolerance
from openledger.influence.index import ContributionIndex
from openledger.influence.index import root as index_root
from openledger.manifest import LineageManifest
from openledger.receipt import Receipt
from openledger.split import BASIS_POINTS
from openledger.trace import Trace

if TYPE_CHECKING:
    from openledger.influence.gradient import Scorer

T = TypeVar("T")

INDEX = "contribution_index.safetensors"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.  `ok` is None when it could not be: what it needs failed before."""

    name: str
    ok: bool | None
    words: str


@dataclass(frozen=True)
class Report:
    """All checks, in order, and the receipt when it could be read."""

    checks: tuple[Check, ...]
    receipt: Receipt | None

    @property
    def ok(self) -> bool:
        """Whether the receipt holds."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something wrong."""
        return tuple(check for check in self.checks if check.ok is False)


def verify_receipt(
    data: bytes,
    artifacts: ArtifactStore,
    base: Path | None = None,
    signer: str | None = None,
    tolerance: Tolerance | None = None,
) -> Report:
    """Check a receipt's bytes.  Never raises for bad data: the report says what is wrong with it.

    `base` is the folder of the base model; without it the receipt's name for it is looked up among the known ones.
    `signer` is the lower-case address that must have signed.
    """
    with tempfile.TemporaryDirectory(prefix="openledger-verify-") as folder:
        # A store of our own: the caller's may have seen these files before somebody changed them.
        store = ArtifactStore(artifacts.root)
        case = _Case(data, store, base, signer, tolerance or Tolerance(), Path(folder))
        checks = [_run(name, step, case) for name, step in _COMMON]
        adapter_checks = case.receipt is not None and bool(case.receipt.model.adapter)
        checks += [_run(name, step, case) for name, step in (_OF_AN_ADAPTER if adapter_checks else ())]
        with_records = case.receipt is not None and case.receipt.evidence.retrieval is not None
        last = (*_BASE, *(_OF_RECORDS if with_records else ()), *_LAST)
        checks += [_run(name, step, case) for name, step in last]
        return Report(tuple(checks), case.receipt)


class _Wrong(Exception):
    """A check found something wrong; the text says what."""


class _NotReached(Exception):
    """A check needs what an earlier one did not establish."""


@dataclass
class _Case:
    """What is given, and what the checks have established so far."""

    data: bytes
    artifacts: ArtifactStore
    base: Path | None
    signer: str | None
    tolerance: Tolerance
    folder: Path
    receipt: Receipt | None = None
    trace: Trace | None = None
    lineage: LineageManifest | None = None
    adapter: Path | None = None
    index_file: Path | None = None
    index: ContributionIndex | None = None
    base_folder: Path | None = None


Step = Callable[[_Case], str]


def _run(name: str, step: Step, case: _Case) -> Check:
    try:
        return Check(name, True, step(case))
    except _NotReached as error:
        return Check(name, None, f"not checked: it needs {error}, which is missing or wrong")
    except Exception as error:  # noqa: BLE001 - whatever bad data can make a library raise is a failed check
        return Check(name, False, str(error) or type(error).__name__)


def _need(value: T | None, what: str) -> T:
    if value is None:
        raise _NotReached(what)
    return value


def _receipt(case: _Case) -> Receipt:
    return _need(case.receipt, "the receipt")


def _trace(case: _Case) -> Trace:
    return _need(case.trace, "the trace")


def _must_equal(pairs: dict[str, tuple[object, object]], here: str, there: str) -> None:
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise _Wrong(f"the {name} is {ours!r} in {here} and {theirs!r} in {there}")


def _form(case: _Case) -> str:
    case.receipt = receipts.parse(case.data)
    return f"an {receipts.VERSION} document in canonical form (RFC 8785), SHA-256 {canonical.sha256(case.data)}"


def _signature(case: _Case) -> str:
    receipt = _receipt(case)
    receipts.check_signature(receipt)
    if case.signer is None:
        return f"signed by {receipt.signer}, who is named in it (whether you trust that key is yours to say: --signer)"
    if receipt.signer != case.signer.lower():
        raise _Wrong(f"signed by {receipt.signer}, not by {case.signer.lower()} as expected")
    return f"signed by {receipt.signer}, as expected"


def _sum(case: _Case) -> str:
    receipt = _receipt(case)
    total = sum(receipt.shares.values())
    if total != receipt.fee:
        raise _Wrong(f"the shares sum to {total}, the fee is {receipt.fee}")
    return f"{len(receipt.shares)} shares sum to the fee of {receipt.fee}, to the unit"


def _split(case: _Case) -> str:
    receipt = _receipt(case)
    receipts.check_split(receipt)
    return f"the shares are exactly what rule {receipt.rule.digest()[:16]} makes of the scores and the fee"


def _trace_artifact(case: _Case) -> str:
    receipt = _receipt(case)
    case.trace = traces.parse(case.artifacts.get(receipt.trace_sha256))
    asked, answered = len(case.trace.prompt_token_ids), len(case.trace.completion_token_ids)
    return f"the trace {receipt.trace_sha256} is published ({asked} prompt tokens, {answered} answer tokens)"


def _agreement(case: _Case) -> str:
    receipt, trace = _receipt(case), _trace(case)
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
    _must_equal(pairs, "the receipt", "what follows from the trace")
    if not trace.adapter and (receipt.model.index_root or receipt.developer):
        raise _Wrong("the base model answered alone, yet the receipt names a contribution index or a developer")
    return "receipt and trace agree on response, payer, lease, fees, base model, adapter and method"


def _records(case: _Case) -> str:
    trace, folder = _trace(case), _need(case.base_folder, "the base model")
    if trace.context is None:
        return "no records stood before the question"
    roots = {snapshot.name: snapshot.root for snapshot in case.lineage.snapshots} if case.lineage else {}
    return verify_records.check(trace.context, trace.prompt_token_ids, encoder(folder), roots)


def _lineage(case: _Case) -> str:
    receipt = _receipt(case)
    adapter, digest = names.match("adapters/*/revisions/*", receipt.model.adapter)
    lineage = read_manifest(case.artifacts, digest)
    pairs: dict[str, tuple[object, object]] = {
        "adapter": (adapter, lineage.adapter),
        "base model's SHA-256": (receipt.model.base_sha256, lineage.base.sha256),
        "developer": (receipt.developer, lineage.owner),
    }
    _must_equal(pairs, "the receipt", "the adapter's manifest")
    case.lineage = lineage
    return f"the manifest of {adapter} has the SHA-256 that the receipt names, its owner is the receipt's developer"


def _files(case: _Case) -> str:
    lineage = _need(case.lineage, "the adapter's manifest")
    for name, digest in sorted(lineage.files.items()):
        try:
            case.artifacts.path(digest)
        except ValueError as error:
            raise _Wrong(f"{name}: {error}") from error
    case.adapter = materialise(case.artifacts, lineage.digest, case.folder)
    case.index_file = case.artifacts.path(lineage.files[INDEX])
    return f"{', '.join(sorted(lineage.files))} have the SHA-256 that the manifest names"


def _index(case: _Case) -> str:
    file, lineage = _need(case.index_file, "the contribution index"), _need(case.lineage, "the adapter's manifest")
    index = ContributionIndex.open(file)
    root = index_root(index).hex()
    named = _receipt(case).model.index_root
    _must_equal({"root": (root, named)}, "the contribution index, computed again,", "the receipt")
    _must_equal({"root": (root, lineage.index_root)}, "the contribution index, computed again,", "the manifest")
    case.index = index
    return f"the root over {index.header.rows} contribution vectors, computed again, is {root}"


def _contributors(case: _Case) -> str:
    receipt, lineage = _receipt(case), _need(case.lineage, "the adapter's manifest")
    header = _need(case.index, "the contribution index").header
    if set(header.contributors) != lineage.contributors.keys():
        raise _Wrong("the contribution index and the manifest name different contributors")
    if set(header.contributors) != receipt.evidence.scores.keys():
        odd = sorted(set(header.contributors) ^ receipt.evidence.scores.keys())
        raise _Wrong(f"{odd[0]} is in the contribution index or in the receipt, and not in both")
    if header.placebos != len(receipt.evidence.placebos):
        raise _Wrong(f"the index has {header.placebos} placebos, the receipt scores {len(receipt.evidence.placebos)}")
    return f"the {len(header.contributors)} contributors of the index are those that the receipt scores"


def _grade(case: _Case) -> str:
    receipt = _receipt(case)
    if not receipt.grade:
        if receipt.evidence.trust_bps != BASIS_POINTS:
            raise _Wrong("the scores are believed in part, and no grade says why")
        return "the scores are believed altogether"
    try:
        found = grades.parse(case.artifacts.get(receipt.grade))
    except (ArtifactError, ValueError) as error:
        raise _Wrong(f"the grade that the receipt names cannot be read: {error}") from error
    _must_equal({"model": (found.revision, receipt.model.adapter)}, "the grade", "the receipt")
    trust = grades.trust_bps(found, receipt.rule)
    _must_equal({"trust": (trust, receipt.evidence.trust_bps)}, "what follows from the grade", "the receipt")
    lineage = _need(case.lineage, "the adapter's manifest")
    follows = verify_grade.check(found, receipt.signer, lineage, case.artifacts)
    return (
        f"the scores are believed to {trust / 100:g} %, as follows from the model's grade, an agreement of "
        f"{found.mean_milli / 1000:.3f}; {follows}"
    )


def _base(case: _Case) -> str:
    receipt = _receipt(case)
    folder = case.base
    if folder is None:
        if receipt.model.base not in base_models.REGISTRY:
            raise _Wrong(f"no base model is known here as {receipt.model.base[:80]!r}: say where it is (--base FOLDER)")
        folder = base_models.locate(receipt.model.base)
    found = file_sha256(folder / "model.safetensors")
    _must_equal({"SHA-256": (found, receipt.model.base_sha256)}, "the base model here", "the receipt")
    case.base_folder = folder
    return f"the base model here is the one that answered, SHA-256 {found}"


@lru_cache(maxsize=1)
def _scorer(base: Path) -> Scorer:
    """The base model, read once for any number of receipts."""
    from openledger.influence.gradient import Scorer

    return Scorer(base)


def _measurement(case: _Case) -> str:
    receipt, trace = _receipt(case), _trace(case)
    base = _need(case.base_folder, "the base model")
    if receipt.model.adapter != trace.adapter:
        raise _NotReached("a trace of the receipt's own model")
    if trace.adapter:
        _need(case.index, "the contribution index")
    measured = evidence.measure(_scorer(base), trace, case.adapter, case.index)
    different = evidence.differences(measured, receipt.evidence, case.tolerance)
    if different:
        raise _Wrong(different[0] + (f" (and {len(different) - 1} more differ)" if len(different) > 1 else ""))
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
_OF_AN_ADAPTER: tuple[tuple[str, Step], ...] = (
    ("lineage", _lineage),
    ("files", _files),
    ("index", _index),
    ("contributors", _contributors),
    ("grade", _grade),
)
_BASE: tuple[tuple[str, Step], ...] = (("base", _base),)
_OF_RECORDS: tuple[tuple[str, Step], ...] = (("records", _records),)
_LAST: tuple[tuple[str, Step], ...] = (("measurement", _measurement),)
