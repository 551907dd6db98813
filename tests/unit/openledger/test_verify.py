"""`verify` on a real (tiny) model: a receipt holds, and every change to it is found by the check named for it."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run

import pytest

from openledger import evidence, verify_adapter, verify_case, verify_files, verify_records
from openledger import verify as verify_module
from openledger.artifacts import ArtifactStore
from openledger.grade import FEWEST_ANSWERS, Grade
from openledger.money import Price
from openledger.receipt import sign
from openledger.split import NAT
from tests.published import CONTRIBUTORS, publish
from tests.receipt_world import CHECKS, FORGER, KEY, failed, resplit


def test_a_true_receipt_holds(published, signed):
    checks = published.check(signed, signer=signed.signer)
    assert failed(checks) == {}
    assert list(checks) == CHECKS
    assert "as expected" in checks["signature"][1]
    assert "every unit would go where it went" in checks["measurement"][1]
    assert "4 contributors" in checks["contributors"][1]
    assert any(score > 0 for score in signed.evidence.scores.values())
    assert set(CONTRIBUTORS) & signed.shares.keys()


def test_an_answer_of_a_dora_adapter_holds(published, tmp_path):
    artifacts = tmp_path / "artifacts"
    adapter = publish(ArtifactStore(artifacts), published.base, tmp_path / "trained", dora=True)
    world = replace(published, artifacts=artifacts, work=tmp_path, adapter=adapter)
    receipt = sign(world.receipt(world.trace()), KEY)
    assert failed(world.check(receipt)) == {}
    assert any(score > 0 for score in receipt.evidence.scores.values())
    scores = {who: 2 * score for who, score in receipt.evidence.scores.items()}
    forged = resplit(receipt, evidence=replace(receipt.evidence, scores=scores))
    assert failed(world.check(forged)).keys() == {"measurement"}


def test_an_answer_of_the_base_model_alone_holds(published):
    receipt = sign(published.receipt(published.trace(adapter="")), KEY)
    checks = published.check(receipt)
    assert failed(checks) == {}
    assert list(checks) == [
        name for name in CHECKS if name not in {"lineage", "files", "index", "contributors", "grade"}
    ]
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


def test_what_a_signer_moves_within_the_tolerance_is_told(published, signed):
    scores = dict(signed.evidence.scores)
    who = next(who for who in CONTRIBUTORS if who in signed.shares)
    scores[who] += max(map(abs, scores.values())) // 2000
    forged = resplit(signed, evidence=replace(signed.evidence, scores=scores))
    checks = published.check(forged)
    moved = sum(max(0, amount - forged.shares[key]) for key, amount in signed.shares.items())
    assert failed(checks) == {}
    assert moved > 0
    assert f"{moved} of the fee of {forged.fee} would go to others" in checks["measurement"][1]


def test_a_contributor_left_out_is_found(published, signed):
    measured, left = signed.evidence, signed.evidence.scores.keys() - {CONTRIBUTORS[0]}
    scores, errors = ({who: each[who] for who in left} for each in (measured.scores, measured.errors))
    found = failed(published.check(resplit(signed, evidence=replace(measured, scores=scores, errors=errors))))
    assert found.keys() == {"contributors", "measurement"}
    assert CONTRIBUTORS[0] in found["contributors"]


def test_placebos_left_out_are_found(published, signed):
    found = failed(published.check(resplit(signed, evidence=replace(signed.evidence, placebos=()))))
    assert found.keys() == {"contributors", "measurement"}


@pytest.mark.parametrize(
    ("field", "value"),
    (("payer", "accounts/0x" + "e" * 40), ("lease", "leases/8"), ("fee", 10**18 + 8), ("platform_fee", 7)),
)
def test_a_receipt_for_another_payer_or_fee_than_the_traces_is_found(published, signed, field, value):
    found = failed(published.check(resplit(signed, **{field: value})))
    assert found.keys() == {"agreement"}
    assert field.replace("_", " ") in found["agreement"]


def test_a_signature_is_checked_against_who_should_have_signed(published, unsigned, signed):
    forged = sign(unsigned, FORGER)
    assert failed(published.check(forged)) == {}
    found = failed(published.check(forged, signer=signed.signer))
    assert found.keys() == {"signature"}
    broken = signed.signature[:-3] + ("0" if signed.signature[-3] != "0" else "1") + signed.signature[-2:]
    assert failed(published.check(replace(signed, signature=broken))).keys() == {"signature"}


@pytest.mark.parametrize("data", (b"", b"\xff", b"{}", b"[" * 100_000, b"null", b'{"version":"openledger.receipt.v4"}'))
def test_what_is_no_receipt_gives_a_report_and_no_traceback(published, data):
    checks = published.check(data)
    assert failed(checks).keys() == {"form"}
    assert all(ok is None for name, (ok, _) in checks.items() if name not in {"form", "base"})


def test_an_answer_that_was_cut_off_and_says_what_its_tokens_cost_holds_unless_they_cost_something_else(world):
    price, cut = Price(2 * 10**17, 10**18, 10**15), world.completion[:1]
    due = price.fee(len(world.prompt), 1)
    priced = {"completion_token_ids": cut, "finish_reason": "cancelled", "price": price, "platform_fee": 10**15}
    checks = world.check(sign(world.receipt(world.trace(fee=due, **priced)), KEY))
    assert failed(checks) == {}
    assert "its fee is what its price makes" in checks["trace"][1]
    found = failed(world.check(sign(world.receipt(world.trace(fee=due + 1, **priced)), KEY)))
    assert found.keys() >= {"trace"}
    assert f"by its price and tokens it is {due}" in found["trace"]


def test_tokens_that_no_model_has_give_a_report(world, signed):
    trace = world.trace(completion_token_ids=(2**31 - 1,))
    found = failed(world.check(sign(replace(signed, trace_sha256=world.store.put(trace.dumps())), KEY)))
    assert found.keys() == {"measurement"}
    assert "vocabulary" in found["measurement"]


def test_the_checks_talk_to_no_service():
    modules = (verify_module, verify_adapter, verify_case, verify_files, verify_records, evidence)
    tree = ast.Module([node for each in modules for node in ast.parse(Path(each.__file__).read_text()).body], [])
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.startswith(("services", "grpc", "openledger.client"))}
    code = (
        "import sys, openledger.verify; print([m for m in sys.modules if m.startswith(('services', 'grpc', 'torch'))])"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --- how far scores are believed --------------------------------------------------------------------------------------


def doubted(published, signed, **changes):
    """The receipt, split by what follows from a poor grade; the grade is published."""
    poor = Grade(signed.model.adapter, 250, 150, 350, ("d" * 64,) * FEWEST_ANSWERS)
    grade = published.store.put(replace(poor, **changes).dumps())
    return resplit(signed, evidence=replace(signed.evidence, trust_bps=5_000), grade=grade)


def test_a_grade_whose_documents_are_not_there_is_not_believed(published, signed):
    found = failed(published.check(doubted(published, signed)))
    assert found.keys() == {"grade"}
    assert "one measurement twice" in found["grade"]


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"mean_milli": 300}, "what follows from the grade"),
        ({"high_milli": 600}, "what follows from the grade"),
        ({"revision": "adapters/other/revisions/" + "0" * 64}, "the grade"),
        ({"mean_milli": 2_000}, "cannot be read"),
    ),
)
def test_a_grade_that_says_otherwise_is_found(published, signed, changes, words):
    found = failed(published.check(doubted(published, signed, **changes)))
    assert found.keys() == {"grade"}
    assert words in found["grade"]


def test_belief_in_part_without_a_grade_is_found(published, signed):
    believed = replace(signed.evidence, trust_bps=5_000)
    assert failed(published.check(resplit(signed, evidence=believed))).keys() == {"grade"}
