"""`verify` on a real (tiny) model, adapter and index: it holds, and every change is found by the check named for it."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run

import pytest
import torch
import typer
from typer.testing import CliRunner

from openledger import evidence, split
from openledger import verify as verify_module
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactStore, file_sha256
from openledger.cli.verify import verify
from openledger.evidence import Tolerance
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.manifest import LineageManifest
from openledger.receipt import Model, Receipt, sign
from openledger.split import NAT
from openledger.trace import Trace
from openledger.verify import verify_receipt
from services.factory import data
from tests import published as publishing
from tests import tiny_model
from tests.published import CONTRIBUTORS, OWNER, Published

KEY, FORGER = "0x" + "11" * 32, "0x" + "22" * 32
PLATFORM = "0x" + "f" * 40
RULE = split.Rule(noise_z_milli=0)
CHECKS = [
    "form", "signature", "sum", "split", "trace", "agreement",
    "lineage", "files", "index", "contributors",
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
            index = ContributionIndex.open(self.store.path(self.lineage.files[verify_module.INDEX]))
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

    def check(self, data: bytes | Receipt, **more: object) -> dict[str, tuple[bool | None, str]]:
        """Every check by name."""
        data = data.dumps() if isinstance(data, Receipt) else data
        report = verify_receipt(data, self.store, self.base, **more)
        assert report.ok == all(check.ok for check in report.checks)
        return {check.name: (check.ok, check.words) for check in report.checks}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("published")
    base = tiny_model.make(folder / "base", layers=3, width=32)
    adapter = publishing.publish(ArtifactStore(folder / "artifacts"), base, folder / "trained")
    tokenizer = data.load_tokenizer(base)
    completion = tokenizer("It is 2, says 1.", add_special_tokens=False)["input_ids"]
    return World(
        base, folder / "artifacts", folder, adapter, data.prompt_ids("1 times 2?", tokenizer), (*completion, 2)
    )


@pytest.fixture(scope="module")
def unsigned(published) -> Receipt:
    return published.receipt(published.trace())


@pytest.fixture(scope="module")
def signed(unsigned) -> Receipt:
    return sign(unsigned, KEY)


@pytest.fixture
def world(published, tmp_path) -> World:
    """A copy of the artifacts that a test may damage."""
    shutil.copytree(published.artifacts, tmp_path / "artifacts")
    return replace(published, artifacts=tmp_path / "artifacts", work=tmp_path)


def failed(checks: dict[str, tuple[bool | None, str]]) -> dict[str, str]:
    return {name: words for name, (ok, words) in checks.items() if ok is False}


def resplit(receipt: Receipt, **changes: object) -> Receipt:
    """A forger's receipt: changed, with shares that fit, and signed with the right key."""
    changed = replace(receipt, **changes)
    shares = split.split_fee(changed.fee, changed.platform_fee, changed.evidence, changed.rule)
    return sign(replace(changed, shares=shares), KEY)


def damage(world: World, digest: str, place: int = -1) -> None:
    file = world.artifacts / "sha256" / digest[:2] / digest
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_a_true_receipt_holds(published, signed):
    checks = published.check(signed, signer=signed.signer)
    assert failed(checks) == {}
    assert list(checks) == CHECKS
    assert "as expected" in checks["signature"][1]
    assert "4 contributors" in checks["contributors"][1]
    assert any(score > 0 for score in signed.evidence.scores.values())
    assert set(CONTRIBUTORS) & signed.shares.keys()


def test_an_answer_of_the_base_model_alone_holds(published):
    receipt = sign(published.receipt(published.trace(adapter="")), KEY)
    checks = published.check(receipt)
    assert failed(checks) == {}
    assert list(checks) == [name for name in CHECKS if name not in {"lineage", "files", "index", "contributors"}]
    assert receipt.method == evidence.BASE
    assert receipt.shares.keys() == {"base", "developer", "stakers", "platform"}
    assert receipt.evidence.nll_base == receipt.evidence.nll_model > NAT


def test_a_changed_share_is_found(published, signed):
    shares = dict(signed.shares)
    who = next(who for who in CONTRIBUTORS if who in shares)
    shares[who], shares["base"] = shares[who] + 1, shares["base"] - 1
    assert failed(published.check(replace(signed, shares=shares))).keys() == {"signature", "split"}
    assert failed(published.check(sign(replace(signed, shares=shares), KEY))).keys() == {"split"}
    more = signed.shares | {who: signed.shares[who] + 1}
    assert failed(published.check(sign(replace(signed, shares=more), KEY))).keys() == {"sum", "split"}


def test_a_changed_score_is_found(published, signed):
    scores = dict(signed.evidence.scores)
    who = CONTRIBUTORS[1]
    scores[who] += max(map(abs, scores.values())) // 100
    forged = replace(signed.evidence, scores=scores)
    assert "signature" in failed(published.check(replace(signed, evidence=forged)))
    found = failed(published.check(resplit(signed, evidence=forged)))
    assert found.keys() == {"measurement"}
    assert f"the score of {who} is" in found["measurement"]


@pytest.mark.parametrize("loss", ("nll_base", "nll_model"))
def test_a_changed_loss_is_found(published, signed, loss):
    forged = replace(signed.evidence, **{loss: getattr(signed.evidence, loss) + NAT // 1000})
    found = failed(published.check(resplit(signed, evidence=forged)))
    assert found.keys() == {"measurement"}
    assert "the loss under the" in found["measurement"]


def test_a_contributor_left_out_is_found(published, signed):
    scores = {who: score for who, score in signed.evidence.scores.items() if who != CONTRIBUTORS[0]}
    found = failed(published.check(resplit(signed, evidence=replace(signed.evidence, scores=scores))))
    assert found.keys() == {"contributors", "measurement"}
    assert CONTRIBUTORS[0] in found["contributors"]


def test_placebos_left_out_are_found(published, signed):
    found = failed(published.check(resplit(signed, evidence=replace(signed.evidence, placebos=()))))
    assert found.keys() == {"contributors", "measurement"}


def test_a_changed_token_in_the_trace_is_found(world, signed):
    damage(world, signed.trace_sha256, world.trace().dumps().index(b'"completion_token_ids":[') + 25)
    checks = world.check(signed)
    assert failed(checks).keys() == {"trace"}
    assert "damaged" in checks["trace"][1]
    assert checks["measurement"][0] is None
    assert "it needs the trace" in checks["measurement"][1]


def test_another_trace_put_in_its_place_is_found(world, signed):
    """The forger publishes a trace with another token, names it in the receipt, and signs."""
    first, *rest = world.completion
    trace = world.trace(completion_token_ids=(first + 1, *rest))
    found = failed(world.check(sign(replace(signed, trace_sha256=world.store.put(trace.dumps())), KEY)))
    assert found.keys() == {"measurement"}


@pytest.mark.parametrize(
    ("field", "value"),
    (("payer", "accounts/0x" + "e" * 40), ("lease", "leases/8"), ("fee", 10**18 + 8), ("platform_fee", 7)),
)
def test_a_receipt_for_another_payer_or_fee_than_the_traces_is_found(published, signed, field, value):
    found = failed(published.check(resplit(signed, **{field: value})))
    assert found.keys() == {"agreement"}
    assert field.replace("_", " ") in found["agreement"]


def test_a_missing_trace_is_found(world, signed):
    found = failed(world.check(sign(replace(signed, trace_sha256="0" * 64), KEY)))
    assert found.keys() == {"trace"}
    assert "cannot be read" in found["trace"]


@pytest.mark.parametrize(
    ("name", "check"),
    (
        ("adapter_config.json", "files"),
        ("adapter_model.safetensors", "files"),
        ("contribution_index.safetensors", "files"),
    ),
)
def test_a_changed_byte_of_an_artifact_is_found(world, signed, name, check):
    damage(world, world.lineage.files[name])
    found = failed(world.check(signed))
    assert found.keys() == {check}
    assert name in found[check]
    assert "damaged" in found[check]


def test_a_changed_manifest_is_found(world, signed):
    damage(world, world.lineage.digest)
    assert failed(world.check(signed)).keys() == {"lineage"}


def test_an_index_that_is_not_the_one_that_was_promised_is_found(world, signed):
    """A manifest that names another root than its index has, with a receipt that goes along with it."""
    forged = replace(world.lineage, index_root="5" * 64)
    world.store.put(forged.to_bytes())
    model = replace(signed.model, adapter=forged.revision, index_root="5" * 64)
    trace = world.trace(adapter=forged.revision)
    receipt = sign(replace(signed, model=model, trace_sha256=world.store.put(trace.dumps())), KEY)
    found = failed(world.check(receipt))
    assert found.keys() == {"index"}
    assert "root" in found["index"]


def test_a_receipt_with_another_root_than_the_manifests_is_found(published, signed):
    receipt = sign(replace(signed, model=replace(signed.model, index_root="6" * 64)), KEY)
    assert failed(published.check(receipt)).keys() == {"index"}


def test_another_developer_than_the_adapters_owner_is_found(published, signed):
    assert failed(published.check(sign(replace(signed, developer=PLATFORM), KEY))).keys() == {"lineage"}


def test_another_base_model_is_found(published, signed, tmp_path):
    other = tiny_model.make(tmp_path / "other", layers=3, width=32, seed=1)
    checks = replace(published, base=other).check(signed)
    assert failed(checks).keys() == {"base"}
    assert checks["measurement"][0] is None


def test_a_base_model_that_nobody_knows_must_be_shown(published, signed):
    report = verify_receipt(signed.dumps(), published.store)
    assert [check.name for check in report.failed] == ["base"]
    assert "--base" in report.failed[0].words


def test_a_signature_is_checked_against_who_should_have_signed(published, unsigned, signed):
    forged = sign(unsigned, FORGER)
    assert failed(published.check(forged)) == {}
    found = failed(published.check(forged, signer=signed.signer))
    assert found.keys() == {"signature"}
    broken = signed.signature[:-3] + ("0" if signed.signature[-3] != "0" else "1") + signed.signature[-2:]
    assert failed(published.check(replace(signed, signature=broken))).keys() == {"signature"}


@pytest.mark.parametrize("data", (b"", b"\xff", b"{}", b"[" * 100_000, b"null", b'{"version":"openledger.receipt.v1"}'))
def test_what_is_no_receipt_gives_a_report_and_no_traceback(published, data):
    checks = published.check(data)
    assert failed(checks).keys() == {"form"}
    assert all(ok is None for name, (ok, _) in checks.items() if name not in {"form", "base"})


def test_tokens_that_no_model_has_give_a_report(world, signed):
    trace = world.trace(completion_token_ids=(2**31 - 1,))
    found = failed(world.check(sign(replace(signed, trace_sha256=world.store.put(trace.dumps())), KEY)))
    assert found.keys() == {"measurement"}
    assert "vocabulary" in found["measurement"]


def test_one_and_two_threads_agree_far_within_the_tolerance(published, signed):
    trace, threads = published.trace(), torch.get_num_threads()
    tight = Tolerance(score_millionths=250, nll=NAT // 40_000)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert evidence.differences(published.receipt(trace).evidence, signed.evidence, tight) == []
    finally:
        torch.set_num_threads(threads)


def test_the_loss_under_the_base_is_the_same_with_and_without_an_adapter(published, signed):
    alone = Scorer(published.base).base_loss(published.prompt, published.completion)
    assert alone == signed.evidence.nll_base


def test_the_checks_talk_to_no_service():
    tree = ast.parse(Path(verify_module.__file__).read_text() + Path(evidence.__file__).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.startswith(("services", "grpc", "openledger.client"))}
    code = (
        "import sys, openledger.verify; print([m for m in sys.modules if m.startswith(('services', 'grpc', 'torch'))])"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(verify)

    def invoke(*arguments: object):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})

    return invoke


@pytest.fixture
def receipt_file(world, signed, tmp_path) -> Path:
    folder = tmp_path / "receipts"
    folder.mkdir()
    (folder / "r1.json").write_bytes(signed.dumps())
    return folder / "r1.json"


def test_the_command_finds_the_artifacts_and_says_that_the_receipt_holds(command, world, receipt_file, signed):
    result = command(receipt_file, "--base", world.base, "--signer", signed.signer)
    assert result.exit_code == 0, result.output
    assert "The receipt holds." in result.output
    assert result.output.count("✓") == len(CHECKS)
    assert "base" in result.output


def test_the_command_says_what_does_not_hold(command, world, receipt_file):
    receipt_file.write_bytes(receipt_file.read_bytes().replace(b'"lease":"leases/7"', b'"lease":"leases/8"'))
    result = command(receipt_file, "--base", world.base)
    assert result.exit_code == 1
    assert "does not hold: signed by" in result.output.replace("\n", " ")
    assert "✗" in result.output


def test_the_command_speaks_json(command, world, receipt_file, signed):
    result = command(receipt_file, "--base", world.base, "--artifacts", world.artifacts, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["ok"] is True
    assert [check["name"] for check in document["checks"]] == CHECKS


def test_the_command_refuses_what_it_cannot_begin_with(command, world, receipt_file, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone") / "r.json"
    alone.write_bytes(b"{}")
    assert command(receipt_file.with_name("none.json")).exit_code == 2
    assert command(alone).exit_code == 2
    assert command(receipt_file, "--artifacts", alone / "no").exit_code == 2
    assert command(receipt_file, "--base", "gpt-5").exit_code == 2
    assert command(receipt_file, "--signer", "me").exit_code == 2
