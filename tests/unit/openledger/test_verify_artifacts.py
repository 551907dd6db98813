"""`verify` on a real (tiny) model: every change to what was published is found by the check named for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.receipt import sign
from openledger.verify import verify_receipt
from tests import tiny_model
from tests.receipt_world import KEY, PLATFORM, damage, failed


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


def test_a_name_that_no_trace_can_have_is_found(world, signed):
    found = failed(world.check(sign(replace(signed, trace_sha256="../" * 20), KEY)))
    assert found.keys() == {"trace"}
    assert "not the name of an artifact" in found["trace"]


@pytest.mark.parametrize("says_it", (False, True))
def test_a_trace_that_is_withheld_is_found(world, signed, says_it):
    """Also of a receipt of before it was said, when all traces were published."""
    receipt = world.timed(published=True) if says_it else signed
    assert failed(world.check(receipt)) == {}
    given = unpublished(world, receipt)
    checks = world.check(receipt)
    assert failed(checks).keys() == {"trace"}
    assert "is published, by this receipt, and is not among the artifacts" in checks["trace"][1]
    report = verify_receipt(receipt.dumps(), world.store, world.base)
    assert (report.ok, report.withheld) == (False, False)
    assert verify_receipt(receipt.dumps(), world.store, world.base, trace=given).ok


@pytest.mark.parametrize("said", (True, False))
def test_who_says_otherwise_than_the_trace_who_may_have_it_is_found(world, said):
    """A signer who calls private what its payer let everybody have would not be looked at."""
    receipt = world.timed(published=not said)
    forged = sign(replace(receipt, published=said), KEY)
    found = failed(world.check(forged))
    assert found.keys() == {"agreement"}
    assert f"word on who may have the trace is {said} in the receipt and {not said}" in found["agreement"]


def test_of_a_private_answer_all_else_is_checked_and_what_was_not_is_said(world):
    signed = world.timed(published=False)
    assert failed(world.check(signed)) == {}, "who has put the trace there can have it checked"
    given = unpublished(world, signed)
    checks = world.check(signed)
    assert failed(checks) == {}
    assert {name for name, (ok, _) in checks.items() if ok is None} == {"trace", "agreement", "measurement"}
    assert "openledger receipt fetch" in checks["trace"][1]
    report = verify_receipt(signed.dumps(), world.store, world.base)
    assert (report.ok, report.withheld) == (False, True)
    with_it = verify_receipt(signed.dumps(), world.store, world.base, trace=given)
    assert (with_it.ok, with_it.withheld) == (True, False)


def test_of_a_private_answer_what_is_wrong_is_found_all_the_same(world):
    signed = world.timed(published=False)
    unpublished(world, signed)
    shares = dict(signed.shares)
    who = next(iter(shares))
    shares[who] += 1
    report = verify_receipt(sign(replace(signed, shares=shares), KEY).dumps(), world.store, world.base)
    assert not report.withheld
    assert {"sum", "split"} <= {check.name for check in report.failed}
    damage(world, world.lineage.files["contribution_index.safetensors"])
    assert {"files"} <= failed(world.check(signed)).keys()


def test_a_trace_that_is_given_and_is_not_the_one_is_found_at_any_byte(world, signed):
    given = unpublished(world, signed)
    for place in range(0, len(given), 7):
        changed = bytearray(given)
        changed[place] ^= 1
        report = verify_receipt(signed.dumps(), world.store, world.base, trace=bytes(changed))
        assert [check.name for check in report.failed] == ["trace"]
        assert not report.withheld
    for other in (b"", b"{}", given + b" ", world.trace(response="responses/r2").dumps()):
        report = verify_receipt(signed.dumps(), world.store, world.base, trace=other)
        assert [check.name for check in report.failed] == ["trace"]


def unpublished(world, signed) -> bytes:
    """Take the trace out of the artifacts; its bytes."""
    place = world.store.path(signed.trace_sha256)
    given = place.read_bytes()
    place.unlink()
    return given


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
