"""`openledger verify sample` as people type it: of an epoch with a cheat in it, of files, by chance, seed and chain."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from openledger import evidence
from openledger.cli import epoch_on_chain
from openledger.cli.main import app
from openledger.money import format_open
from openledger.receipt import sign
from tests.epoch_world import PAYER, Ledger
from tests.receipt_world import KEY, resplit


def command(*arguments: object):
    return CliRunner().invoke(app, ["verify", "sample", *map(str, arguments)], env={"COLUMNS": "250"})


def answers(world, count: int = 4) -> list:
    receipts = []
    for number in range(count):
        trace = world.trace(response=f"responses/{number:032x}", payer=PAYER.account, fee=10**18 + number)
        receipts.append(sign(world.receipt(trace), KEY))
    return receipts


def cheated(receipt):
    """Somebody is credited with what others earned; it is signed, and the split is the rule's."""
    scores = dict(receipt.evidence.scores)
    scores[min(scores)] = 3 * max(map(abs, scores.values()))
    return resplit(receipt, evidence=replace(receipt.evidence, scores=scores))


@pytest.fixture
def ledger(world) -> Ledger:
    """Its artifacts are the world's."""
    return Ledger(world.work)


def test_of_an_epoch_that_holds_all_is_computed_again_and_nothing_is_wrong(world, ledger):
    receipts = answers(world)
    digest = ledger.close(*receipts)
    result = command(digest, "--artifacts", world.artifacts, "--base", world.base, "--signer", receipts[0].signer)
    assert result.exit_code == 0, result.output
    assert "4 of 4 receipts" in result.output
    assert "That is all of them: 0.00 % are wrong" in result.output
    assert "Drawn by chance of this machine; --seed" in result.output


def test_a_cheat_who_keeps_the_books_in_order_is_named_with_its_receipt(world, ledger):
    receipts = answers(world)
    receipts[2] = cheated(receipts[2])
    digest = ledger.close(*receipts)
    assert ledger.check(digest, alone=True).ok, "by its bundle alone nothing is wrong with the epoch"
    result = command(digest, "--artifacts", world.artifacts, "--base", world.base, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["ok"], document["receipts"], document["checked"]) == (False, 4, 4)
    assert document["fees"] == str(sum(receipt.fee for receipt in receipts))
    assert [each["receipt"] for each in document["wrong"]] == [receipts[2].digest()]
    assert document["wrong"][0]["why"].startswith("measurement: the score of")
    assert document["number"] == {"drawn": 4, "wrong": 1, "at_most": 1, "of": 4}
    assert document["money"]["at_most"] == 250_001, "a fee is one of four, and a unit or two; rounded up"


def test_the_same_seed_draws_the_same_again(world, ledger):
    digest = ledger.close(*answers(world))
    some = ("--artifacts", world.artifacts, "--base", world.base, "--budget", 2, "--json")
    first = json.loads(command(digest, *some).stdout)
    assert first["checked"] in (1, 2), "by number and by money the same one may be drawn"
    assert first["beacon"] is None
    again = json.loads(command(digest, *some, "--seed", "0x" + first["seed"]).stdout)
    assert "says nothing if their signer could know it before" in again["words"][0]
    assert {**again, "words": None} == {**first, "words": None}
    assert json.loads(command(digest, *some).stdout)["seed"] != first["seed"]


def unpublish(world, *receipts) -> list[bytes]:
    """Take their traces out of the artifacts."""
    places = [world.store.path(receipt.trace_sha256) for receipt in receipts]
    given = [place.read_bytes() for place in places]
    for place in places:
        place.unlink()
    return given


def private_answer(world, number: int = 99):
    return world.timed(published=False, response=f"responses/{number:032x}", payer=PAYER.account)


@pytest.mark.parametrize("says_it", (False, True))
def test_a_trace_that_is_withheld_makes_its_receipt_wrong(world, ledger, says_it):
    receipts = answers(world, 3)
    if says_it:
        receipts[1] = world.timed(published=True, response=receipts[1].response, payer=PAYER.account)
    digest = ledger.close(*receipts)
    unpublish(world, receipts[1])
    found = command(digest, "--artifacts", world.artifacts, "--base", world.base, "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert (document["receipts"], document["private"], document["checked"]) == (3, 0, 3)
    (wrong,) = document["wrong"]
    assert wrong["receipt"] == receipts[1].digest()
    assert wrong["why"].startswith("trace: the trace")


def test_private_answers_are_said_and_not_drawn(world, ledger):
    receipts = [*answers(world, 3), private_answer(world)]
    receipts[2] = cheated(receipts[2])
    digest = ledger.close(*receipts)
    unpublish(world, receipts[3])
    arguments = (digest, "--artifacts", world.artifacts, "--base", world.base)
    result = command(*arguments)
    assert result.exit_code == 1
    cost = format_open(receipts[3].fee, 18)
    assert f"Of 1 more receipts, which cost {cost} OPEN together, the traces are private" in result.output
    assert "3 of 3 receipts" in result.output
    found = json.loads(command(*arguments, "--json").stdout)
    assert (found["receipts"], found["private"], found["private_fees"]) == (3, 1, str(receipts[3].fee))
    assert [each["receipt"] for each in found["wrong"]] == [receipts[2].digest()]


def test_whether_an_answer_is_private_its_receipt_says_and_not_what_lies_there(world, ledger):
    """So that everybody draws from the same."""
    receipts = [*answers(world, 2), private_answer(world)]
    digest = ledger.close(*receipts)
    assert world.store.has(receipts[2].trace_sha256)
    found = json.loads(command(digest, "--artifacts", world.artifacts, "--base", world.base, "--json").stdout)
    assert (found["ok"], found["receipts"], found["private"]) == (True, 2, 1)


def test_where_all_answers_are_private_there_is_nothing_to_draw_from(world, ledger):
    digest = ledger.close(private_answer(world))
    result = command(digest, "--artifacts", world.artifacts, "--base", world.base)
    assert result.exit_code == 2
    assert "of 1 the traces are private" in result.output


def test_of_files_a_trace_that_lies_beside_is_checked_with(world, tmp_path):
    some = [private_answer(world, 1), private_answer(world, 2)]
    given = unpublish(world, *some)
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    for file, receipt in zip(files, some, strict=True):
        file.write_bytes(receipt.dumps())
    arguments = (*files, "--base", world.base, "--json")
    assert command(*arguments).exit_code == 2
    files[0].with_suffix(".trace").write_bytes(given[0])
    one = json.loads(command(*arguments).stdout)
    assert (one["ok"], one["receipts"], one["private"]) == (True, 1, 1)
    files[1].with_suffix(".trace").write_bytes(given[1])
    files[1].write_bytes(cheated(some[1]).dumps())
    both = json.loads(command(*arguments).stdout)
    assert (both["ok"], both["receipts"], both["private"]) == (False, 2, 0)
    assert [wrong["receipt"] for wrong in both["wrong"]] == [cheated(some[1]).digest()]


def test_another_trace_beside_a_receipt_is_no_fault_of_the_receipts(world, tmp_path):
    file = tmp_path / "1.json"
    file.write_bytes(private_answer(world, 1).dumps())
    file.with_suffix(".trace").write_bytes(b"{}")
    said = command(file, "--base", world.base)
    assert said.exit_code == 2
    assert "is not the trace that" in said.output
    assert "Wrong: receipt" not in said.output


def test_a_model_that_is_withheld_makes_its_receipts_wrong(world, ledger):
    receipts = answers(world)
    digest = ledger.close(*receipts)
    world.store.path(world.lineage.digest).unlink()
    result = command(digest, "--artifacts", world.artifacts, "--base", world.base)
    assert result.exit_code == 1
    assert "Wrong: receipt" in result.output


def test_the_block_that_holds_the_root_draws(world, ledger, monkeypatch):
    digest = ledger.close(*answers(world))
    monkeypatch.setattr(epoch_on_chain, "on_chain", lambda *_, **__: "as it is here")
    held = epoch_on_chain.Proposals([{"block": "0x2a", "block_hash": "0x" + "ab" * 32}], 0)
    monkeypatch.setattr(epoch_on_chain, "proposals", lambda *_: held)
    some = ("--artifacts", world.artifacts, "--base", world.base, "--budget", 2, "--json")
    document = json.loads(command(digest, *some, "--rpc", "http://127.0.0.1:1").stdout)
    assert document["beacon"] == {"block": 42, "hash": "ab" * 32}
    assert document["seed"] == "ab" * 32
    assert "block 42" in document["words"][0]
    assert "could have chosen it" in document["words"][0]


@pytest.mark.parametrize("block_hash", (None, "0x12", "0x" + "g" * 64))
def test_a_node_that_does_not_say_which_block_draws_nothing(world, ledger, monkeypatch, block_hash):
    digest = ledger.close(*answers(world, 1))
    monkeypatch.setattr(epoch_on_chain, "on_chain", lambda *_, **__: "as it is here")
    held = epoch_on_chain.Proposals([{"block": "0x2a", "block_hash": block_hash}], 0)
    monkeypatch.setattr(epoch_on_chain, "proposals", lambda *_: held)
    result = command(digest, "--artifacts", world.artifacts, "--rpc", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "does not say in which block" in result.output


def test_of_an_epoch_that_does_not_hold_nothing_is_drawn(world, ledger):
    digest = ledger.forge(ledger.close(*answers(world, 1)), root="1" * 64)
    result = command(digest, "--artifacts", world.artifacts, "--base", world.base)
    assert result.exit_code == 1
    assert "does not hold, so nothing was drawn: root:" in result.stderr
    assert "computed again:" not in result.stdout


def test_an_epoch_without_answers_has_nothing_to_draw_from(world):
    """It pays what had to wait."""
    ledger = Ledger(world.work, most=10**17)
    ledger.close(*answers(world, 1))
    result = command(ledger.close(), "--artifacts", world.artifacts, "--base", world.base)
    assert result.exit_code == 2
    assert "no receipts to draw from" in result.output


def test_of_files_each_receipt_counts_once(world, tmp_path):
    receipts = answers(world, 2)
    files = []
    for number, receipt in enumerate((*receipts, receipts[0])):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(receipt.dumps())
    result = command(*files, "--base", world.base)
    assert result.exit_code == 0, result.output
    assert "2 of 2 receipts" in result.output
    wrong = command(*files, "--base", world.base, "--signer", "0x" + "9" * 40)
    assert wrong.exit_code == 1
    assert wrong.output.count("Wrong: receipt") == 2


def test_what_this_machine_cannot_check_is_not_the_receipts_fault(world, tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    file = tmp_path / "one.json"
    file.write_bytes(answers(world, 1)[0].dumps())
    monkeypatch.setattr(evidence, "measure", full)
    result = command(file, "--base", world.base)
    assert result.exit_code == 2
    assert "memory is exhausted. This says nothing about the receipts." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("none.json",), "cannot be read"),
        (("1" * 64,), "--artifacts"),
        (("1" * 64, "--artifacts", "/nowhere"), "is no folder"),
        (("1" * 64, "--artifacts", "/tmp", "--seed", "12"), "32 bytes"),
        (("1" * 64, "--artifacts", "/tmp", "--seed", "G" * 64), "32 bytes"),
        (("1" * 64, "--artifacts", "/tmp", "--signer", "me"), "not an address"),
        (("1" * 64, "--artifacts", "/tmp", "--rpc", "chain"), "not the URL"),
        (("1" * 64, "--artifacts", "/tmp", "--budget", "1"), "budget"),
        (("1" * 64, "--artifacts", "/tmp", "--budget", "10001"), "budget"),
        (("1" * 64, "--artifacts", "/tmp", "--confidence", "100"), "confidence"),
        (("a.json", "--rpc", "http://127.0.0.1:1"), "files are in no root"),
        ((), "Missing argument"),
    ),
)
def test_what_cannot_be_begun_with_is_refused_with_what_would_be_right(arguments, words):
    result = command(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_file_that_is_no_receipt_is_refused(world, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    result = command(tmp_path / "a.json")
    assert result.exit_code == 2
    assert "is no receipt" in result.output


def test_it_is_beside_the_other_checks():
    assert "sample" in {one.name for one in typer.main.get_command(app).commands["verify"].commands.values()}
