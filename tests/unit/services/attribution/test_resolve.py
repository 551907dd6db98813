"""From names to models: checked once, kept for a while, and never guessed at."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from openledger import base_models, canonical, receipt
from openledger.artifacts import ArtifactStore
from openledger.money import Price
from openledger.receipt import check_signature, check_split
from openledger.split import NAT, Evidence, Rule
from services.attribution import resolve, score
from services.attribution.attribute import Attributor
from services.attribution.resolve import Models
from services.attribution.score import Terms, Unattributable
from tests.attribution_world import PLATFORM, Artifacts
from tests.published import OWNER

KEY = "0x" + "11" * 32
TERMS = Terms(Rule(), PLATFORM)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Artifacts:
    return Artifacts.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def artifacts(made, tmp_path) -> Artifacts:
    return made.copy(tmp_path / "artifacts")


def models(artifacts: Artifacts, tmp_path: Path, keep: int = 2) -> Models:
    return Models(artifacts.store, str(artifacts.adapter.base), tmp_path / "adapters", threads=1, keep=keep)


def revision(artifacts: Artifacts, number: int) -> str:
    """One more revision of the same adapter."""
    lineage = replace(artifacts.lineage, code=f"openledger {number}")
    artifacts.store.put(lineage.to_bytes())
    return lineage.revision


def test_an_index_is_checked_once_and_kept_while_it_is_used(artifacts, tmp_path, monkeypatch):
    roots = []
    monkeypatch.setattr(resolve, "root", lambda index, honest=resolve.root: roots.append(1) or honest(index))
    ours = models(artifacts, tmp_path)
    traces = [artifacts.trace(n, adapter=revision(artifacts, n)) for n in range(3)]
    first = ours.resolve(traces[0])[1]
    assert ours.resolve(traces[0])[1] is first
    assert len(roots) == 1
    ours.resolve(traces[1])
    ours.resolve(traces[0])
    ours.resolve(traces[2])  # pushes out 1, which was used longest ago
    assert ours.resolve(traces[0])[1] is first
    assert len(roots) == 3
    ours.resolve(traces[1])
    assert len(roots) == 4


def test_a_copy_that_a_power_cut_left_torn_is_made_again(artifacts, tmp_path):
    trace = artifacts.trace(1)
    folder = models(artifacts, tmp_path).resolve(trace)[1].folder
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"")
    again = models(artifacts, tmp_path).resolve(trace)[1].folder
    assert again == folder
    assert weights.read_bytes() == whole


def test_a_disk_that_fails_now_is_no_reason_to_refuse_a_trace_for_ever(artifacts, tmp_path, monkeypatch):
    ours = models(artifacts, tmp_path)
    ours.load()
    honest, manifest = Path.read_bytes, artifacts.lineage.digest

    def failing(path: Path) -> bytes:
        if path.name == manifest:
            raise OSError(errno.EIO, "Input/output error")
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(ValueError, match="Input/output error"):
        ours.resolve(artifacts.trace(1))
    monkeypatch.undo()
    assert ours.resolve(artifacts.trace(1))[1] is not None


def test_an_artifact_that_is_missing_is_a_reason(artifacts, tmp_path):
    digest = artifacts.lineage.files["adapter_model.safetensors"]
    (artifacts.folder / "sha256" / digest[:2] / digest).unlink()
    with pytest.raises(Unattributable, match="not in") as caught:
        models(artifacts, tmp_path).resolve(artifacts.trace(1))
    assert caught.value.reason == "ARTIFACT_DAMAGED"


def test_a_base_model_that_is_not_what_its_name_says_is_not_loaded(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "sha256", lambda name: "5" * 64)
    with pytest.raises(base_models.BaseModelUnavailable, match="damaged"):
        models(artifacts, tmp_path).load()


def test_an_adapter_of_another_base_is_a_reason(artifacts, tmp_path):
    other = shutil.copytree(artifacts.adapter.base, tmp_path / "other")
    weights = other / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    ours = Models(artifacts.store, str(other), tmp_path / "adapters", threads=1, keep=1)
    with pytest.raises(Unattributable) as caught:
        ours.resolve(artifacts.trace(1, base_sha256=base_models.sha256(str(other))))
    assert caught.value.reason == "OTHER_BASE"


def test_the_same_trace_gives_the_same_receipt_and_publishes_it_once(artifacts, tmp_path):
    attributor = Attributor(models(artifacts, tmp_path), artifacts.store, KEY)
    first = attributor.attribute(artifacts.trace(1), TERMS, None)
    blobs = sum(1 for _ in artifacts.folder.rglob("*"))
    again = Attributor(models(artifacts, tmp_path), artifacts.store, KEY).attribute(artifacts.trace(1), TERMS, None)
    assert again == first
    assert sum(1 for _ in artifacts.folder.rglob("*")) == blobs
    assert not artifacts.store.has(canonical.sha256(first.document)), "that is for after the commit"
    parsed = receipt.parse(first.document)
    check_signature(parsed)
    check_split(parsed)
    assert parsed.trace_sha256 == artifacts.trace(1).digest()
    assert not artifacts.store.has(parsed.trace_sha256), "nobody said that it may be published"
    assert parsed.published is False
    assert (parsed.developer, parsed.platform, parsed.rule) == (OWNER, PLATFORM, Rule())


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    (
        (KeyError("what nobody thought of"), Unattributable, "KeyError"),
        (RuntimeError("sizes do not match"), Unattributable, "sizes"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError, "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError, "memory"),
        (MemoryError("full"), MemoryError, "full"),
        (OSError(errno.EIO, "Input/output error"), OSError, "Input"),
    ),
)
def test_what_will_fail_again_is_put_aside_and_what_may_pass_is_tried_again(
    artifacts, monkeypatch, error, raised, words
):
    def failing(*_):
        raise error

    monkeypatch.setattr(score.evidence, "measure", failing)
    with pytest.raises(raised, match=words) as caught:
        score.measure(None, artifacts.trace(1), None)
    assert getattr(caught.value, "reason", "MEASUREMENT_FAILED") == "MEASUREMENT_FAILED"


def test_what_may_be_the_machines_fault_is_tried_once_more(artifacts, monkeypatch):
    tries, found = [], Evidence(nll_base=NAT, nll_model=NAT, scores={}, placebos=(), errors={})

    def at_first_failing(*_):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("could not create a primitive")
        return found

    monkeypatch.setattr(score.evidence, "measure", at_first_failing)
    assert score.measure(None, artifacts.trace(1), None) == found
    assert len(tries) == 2


def test_a_trace_is_published_where_its_payer_wants_that(artifacts, tmp_path):
    price = Price(2000, 5000, 7)
    bare = artifacts.trace(1)
    fee = price.fee(len(bare.prompt_token_ids), len(bare.completion_token_ids))
    trace = replace(bare, price=price, platform_fee=7, fee=fee, salt="5a" * 32, published=True)
    issued = Attributor(models(artifacts, tmp_path), artifacts.store, KEY).attribute(trace, TERMS, None)
    assert ArtifactStore(artifacts.folder).get(issued.trace_sha256) == trace.dumps()
    assert receipt.parse(issued.document).published is True


def test_an_answer_with_more_tokens_than_are_measured_here_is_a_reason(artifacts, tmp_path):
    trace = artifacts.trace(1)
    tokens = len(trace.prompt_token_ids) + len(trace.completion_token_ids)
    ours = models(artifacts, tmp_path)
    assert Attributor(ours, artifacts.store, KEY, tokens).attribute(trace, TERMS, None)
    with pytest.raises(Unattributable, match=f"have {tokens} tokens, at most {tokens - 1}") as caught:
        Attributor(ours, artifacts.store, KEY, tokens - 1).attribute(trace, TERMS, None)
    assert caught.value.reason == "TOO_LARGE_HERE"


def test_a_fee_that_cannot_be_split_is_a_reason(artifacts):
    evidence = Evidence(nll_base=NAT, nll_model=NAT, scores={}, placebos=(), errors={})
    with pytest.raises(Unattributable, match="cannot hold") as caught:
        score.receipt(artifacts.trace(1, fee=1, platform_fee=2, adapter=""), None, evidence, TERMS, None)
    assert caught.value.reason == "BAD_FEE"
