"""`openledger demo` as a person runs it: real data, the real model on vLLM, a real chain; then its report, checked.

One run of the quick form for all tests here.  It is interrupted once in the middle (ctrl-C) and started again, as
people do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from openledger import receipt
from openledger.artifacts import ArtifactStore
from openledger.cli.installation import Installation
from openledger.cli.rpc import Rpc
from tests.demo_process import start
from tests.needs import ROOT, needs
from tests.ports import six_free_ports

pytestmark = [needs("vllm", "model", "hpo"), pytest.mark.slow, pytest.mark.timeout(1200)]

ADDRESS_SHARES = ("base", "unattributed", "platform", "developer", "stakers")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(folder, report, what was said): a demo that was stopped while it trained, and then run to its end."""
    folder = tmp_path_factory.mktemp("demo")
    log, port = folder / "said.txt", six_free_ports()
    first = start(folder / "installation", port, log)
    deadline = time.monotonic() + 300
    while "3/8" not in log.read_text() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(3)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=90)
    assert first.returncode == 130, log.read_text()[-3000:]
    second = start(folder / "installation", port, log)
    output, _ = second.communicate(timeout=1000)
    assert second.returncode == 0, log.read_text()[-3000:]
    return folder / "installation", json.loads(output), " ".join(log.read_text().split())  # lines are wrapped


def test_the_report_is_on_stdout_and_in_its_file(demo):
    folder, report, _ = demo
    assert json.loads((folder / "report.json").read_text()) == report


def test_real_data_went_in_once_although_the_demo_was_started_twice(demo):
    _, report, said = demo
    assert report["datanet"]["records"] >= 150
    assert report["datanet"]["contributors"] >= 12
    assert report["datanet"]["snapshot"].endswith("/snapshots/1")
    assert report["datanet"]["anchor_tx"].startswith("0x")
    assert "was refused" not in said
    assert "Nothing is lost" in said


def test_the_model_learned(demo):
    model = demo[1]["model"]
    assert model["loss_after"] < model["loss_before"] - 0.1
    assert model["train_records"] >= 130


def test_the_model_is_registered_on_chain(demo):
    assert "the model is registered on chain by 0x" in demo[2]


def test_vllm_answered_with_and_without_the_adapter(demo):
    _, report, _ = demo
    assert report["engine"]["name"] == "vllm"
    answers = report["responses"]
    assert len(answers) >= 6
    assert {bool(a["adapter"]) for a in answers} == {True, False}
    assert all(a["text"].strip() and a["tokens_out"] > 0 for a in answers)


def test_half_of_the_questions_are_about_terms_that_nobody_contributed(demo):
    _, report, said = demo
    assert 2 * said.count("held-out term)") == 2 * said.count("contributed term)") == len(report["responses"])


def test_every_unit_of_every_fee_is_accounted_for(demo):
    _, report, said = demo
    for answer in report["responses"]:
        assert sum(map(int, answer["receipt"]["shares"].values())) == int(answer["fee"])
    sums = report["conservation"]
    assert sums["difference"] == "0"
    assert int(sums["paid"]) + int(sums["held"]) == int(sums["fees"])
    assert int(sums["fees"]) == sum(int(a["fee"]) for a in report["responses"])
    assert f"fees in {sums['fees']} = paid {sums['paid']} + held {sums['held']}, to the unit" in said


def test_contributors_were_paid_for_the_tuned_models_answers_alone(demo):
    _, report, _ = demo
    for answer in report["responses"]:
        people = [key for key in answer["receipt"]["shares"] if key not in ADDRESS_SHARES]
        assert answer["adapter"] or not people
    given: dict[str, int] = {}
    for answer in report["responses"]:
        for key, amount in answer["receipt"]["shares"].items():
            given[key] = given.get(key, 0) + int(amount)
    claims = report["settlement"]["claims"]
    assert len(claims) >= 3
    # Settled together nobody has more than the provisional shares with the noise that was taken off them.
    assert {claim["account"].removeprefix("accounts/") for claim in claims} <= given.keys() - set(ADDRESS_SHARES)
    data = sum(amount for key, amount in given.items() if key.startswith("0x") or key == "unattributed")
    assert sum(int(claim["amount"]) for claim in claims) <= data


def test_receipts_are_found_hold_together_and_name_their_artifacts(demo):
    folder, report, _ = demo
    store = ArtifactStore(folder / "artifacts")
    for answer in report["responses"]:
        document = receipt.parse((folder / answer["receipt"]["path"]).read_bytes())
        receipt.check_signature(document)
        receipt.check_split(document)
        assert store.has(document.trace_sha256)
        assert document.response == answer["name"]


def test_the_epoch_follows_from_its_receipts(demo):
    folder, report, _ = demo
    bundle = ("epoch", report["settlement"]["bundle"], "--artifacts", str(folder / "artifacts"))
    command = (sys.executable, "-m", "openledger.cli.main", "verify", *bundle, "--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert json.loads(done.stdout)["ok"] is True
    assert done.returncode == 0


def test_verify_refuses_a_receipt_of_which_one_unit_was_moved(demo, tmp_path):
    folder, report, _ = demo
    tuned = next(a for a in report["responses"] if a["adapter"])
    document = json.loads((folder / tuned["receipt"]["path"]).read_text())
    document["shares"]["base"] = str(int(document["shares"]["base"]) + 1)
    document["shares"]["developer"] = str(int(document["shares"]["developer"]) - 1)
    forged = tmp_path / "forged.json"
    forged.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    command = (sys.executable, "-m", "openledger.cli.main", "verify", str(forged), "--json")
    done = subprocess.run(
        [*command, "--artifacts", str(folder / "artifacts")], cwd=ROOT, capture_output=True, check=False
    )
    failed = {check["name"] for check in json.loads(done.stdout)["checks"] if check["ok"] is False}
    assert done.returncode == 1
    assert failed == {"signature", "split"}


def test_the_claimed_money_is_in_the_contributors_wallets_on_chain(demo):
    """The services are down by now; the chain alone is started again, as an auditor would ask it."""
    folder, report, _ = demo
    port = six_free_ports()
    arguments = ("--port", str(port), "--data", str(folder / "chain" / "chain.db"))
    chain_id = str(report["settlement"]["chain_id"])
    command = (sys.executable, "-m", "services.ledger.devchain", *arguments, "--chain-id", chain_id)
    contracts = json.loads((folder / "ledger" / "contracts.json").read_text())
    chain = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ)
    try:
        assert chain.stdout is not None
        assert json.loads(chain.stdout.readline())["serving"] is True
        rpc = Rpc(f"http://127.0.0.1:{port}")
        token = contracts["transactions"]["token"]["address"]
        relayer = Installation(folder).wallet("operator").address
        for claim in report["settlement"]["claims"]:
            address = claim["account"].removeprefix("accounts/")
            assert rpc.token_balance(token, address) == int(claim["amount"]) > 0
            done = rpc.call("eth_getTransactionReceipt", claim["tx"])
            assert (int(done["status"], 16), done["from"].lower()) == (1, relayer)
    finally:
        chain.terminate()
        chain.wait(20)
