"""Receipts of a real (tiny) model, adapter and index, and what forgers make of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from openledger import evidence, split
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.manifest import LineageManifest
from openledger.money import Price
from openledger.receipt import Model, Receipt, sign
from openledger.trace import Trace
from openledger.verify import verify_receipt
from openledger.verify_adapter import INDEX
from tests.damage import damage_file
from tests.published import OWNER, Published

KEY, FORGER = "0x" + "11" * 32, "0x" + "22" * 32
PLATFORM = "0x" + "f" * 40
RULE = split.Rule(noise_z_milli=0)
CHECKS = [
    "form", "signature", "sum", "split", "trace", "agreement",
    "lineage", "files", "index", "contributors", "grade",
    "base", "measurement",
]  # fmt: skip


@dataclass(frozen=True)
class World:
    """A published adapter and the folder of its artifacts."""

    base: Path
    artifacts: Path
    work: Path
    adapter: Published
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def lineage(self) -> LineageManifest:
        return read_manifest(self.store, self.adapter.revision.rpartition("/")[2])

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.artifacts)

    def trace(self, **changes: object) -> Trace:
        """An answer by the adapter."""
        trace = Trace(
            response="responses/r1",
            base="tiny",
            base_sha256=file_sha256(self.base / "model.safetensors"),
            adapter=self.adapter.revision,
            prompt_token_ids=self.prompt,
            completion_token_ids=self.completion,
            sampling={"max_tokens": 64, "temperature": "0"},
            finish_reason="stop",
            payer="accounts/0x" + "c" * 40,
            lease="leases/7",
            fee=10**18 + 7,
            platform_fee=10**15,
            start_time="2026-01-02T03:04:05.000000Z",
            end_time="2026-01-02T03:04:06.000000Z",
            engine="none",
        )
        return replace(trace, **changes)

    def receipt(self, trace: Trace) -> Receipt:
        """The receipt of an answer, unsigned; the trace is published."""
        scorer, folder, index = Scorer(self.base), None, None
        if trace.adapter:
            folder = materialise(self.store, self.lineage.digest, self.work / "adapters")
            index = ContributionIndex.open(self.store.path(self.lineage.files[INDEX]))
        measured = evidence.measure(scorer, trace, folder, index)
        return Receipt(
            response=trace.response,
            trace_sha256=self.store.put(trace.dumps()),
            payer=trace.payer,
            lease=trace.lease,
            model=Model(
                trace.base,
                trace.base_sha256,
                trace.adapter,
                self.lineage.index_root if trace.adapter else "",
            ),
            method=evidence.method(trace),
            rule=RULE,
            evidence=measured,
            fee=trace.fee,
            platform_fee=trace.platform_fee,
            shares=split.split_fee(trace.fee, trace.platform_fee, measured, RULE),
            developer=OWNER if trace.adapter else "",
            platform=PLATFORM,
        )

    def timed(self, *, published: bool, **changes: object) -> Receipt:
        """A signed receipt that says when the answer ended and who may have its trace; the trace is there."""
        price = Price(2 * 10**17, 10**18, 10**15)
        due = {"price": price, "fee": price.fee(len(self.prompt), len(self.completion)), "platform_fee": 10**15}
        trace = self.trace(**due, salt="5a" * 32, published=published, **changes)
        return sign(replace(self.receipt(trace), end_time=trace.end_time, published=published), KEY)

    def check(self, data: bytes | Receipt, **more: object) -> dict[str, tuple[bool | None, str]]:
        """Every check by name."""
        data = data.dumps() if isinstance(data, Receipt) else data
        report = verify_receipt(data, self.store, self.base, **more)
        assert report.ok == all(check.ok for check in report.checks)
        return {check.name: (check.ok, check.words) for check in report.checks}


def failed(checks: dict[str, tuple[bool | None, str]]) -> dict[str, str]:
    return {name: words for name, (ok, words) in checks.items() if ok is False}


def resplit(receipt: Receipt, **changes: object) -> Receipt:
    """A forger's receipt: changed, with shares that fit, and signed with the right key."""
    changed = replace(receipt, **changes)
    shares = split.split_fee(changed.fee, changed.platform_fee, changed.evidence, changed.rule)
    return sign(replace(changed, shares=shares), KEY)


def damage(world: World, digest: str, place: int = -1) -> None:
    damage_file(world.store, digest, place)
