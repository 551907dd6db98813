"""`openledger verify` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openledger import evidence, verify_files
from openledger.cli import verify as verify_command
from openledger.cli.verify import verify
from openledger.receipt import sign
from tests.receipt_world import CHECKS, KEY
from tests.web_folder import answering, folder_of


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


def test_the_artifacts_may_be_on_a_web_server(command, world, receipt_file, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path / "cache"))
    with folder_of(world.store) as (url, asked):
        result = command(receipt_file, "--base", world.base, "--artifacts", url, "--json")
        document = json.loads(result.stdout)
        assert (result.exit_code, document["ok"], document["artifacts"]) == (0, True, url)
        assert len(asked) == len(set(asked)) > 1
    with answering(lambda handler: handler.send_error(503)) as url:
        monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path / "other"))
        result = command(receipt_file, "--base", world.base, "--artifacts", url)
    assert result.exit_code == 2
    assert "the answer is 503. This says nothing about the receipt" in " ".join(result.stderr.split())


def test_a_trace_that_is_withheld_is_the_receipts_fault(command, world, receipt_file, signed):
    world.store.path(signed.trace_sha256).unlink()
    result = command(receipt_file, "--base", world.base)
    assert result.exit_code == 1, result.output
    assert "is not among the artifacts" in " ".join(result.output.split())
    assert json.loads(command(receipt_file, "--base", world.base, "--json").stdout)["withheld"] is False


def test_without_a_private_trace_the_command_says_what_it_did_not_check_and_ends_with_3(command, world, receipt_file):
    signed = world.timed(published=False)
    receipt_file.write_bytes(signed.dumps())
    place = world.store.path(signed.trace_sha256)
    given = place.read_bytes()
    place.unlink()
    result = command(receipt_file, "--base", world.base)
    assert result.exit_code == 3, result.output
    said = " ".join(result.output.split())
    assert "this was not checked: trace, agreement, measurement" in said
    assert "The receipt holds" not in said
    document = json.loads(command(receipt_file, "--base", world.base, "--json").stdout)
    assert (document["ok"], document["withheld"]) == (False, True)
    elsewhere = receipt_file.parent / "elsewhere"
    elsewhere.write_bytes(given)
    assert command(receipt_file, "--base", world.base, "--trace", elsewhere).exit_code == 0
    receipt_file.with_suffix(".trace").write_bytes(given)
    assert command(receipt_file, "--base", world.base).exit_code == 0
    receipt_file.with_suffix(".trace").write_bytes(given[:-1])
    assert command(receipt_file, "--base", world.base).exit_code == 1
    assert command(receipt_file, receipt_file, "--trace", elsewhere).exit_code == 2
    assert command(receipt_file, "--trace", elsewhere.with_name("none")).exit_code == 2


def test_of_several_receipts_the_command_hashes_the_base_model_once(command, world, receipt_file, monkeypatch):
    other, hashed, known = receipt_file.with_name("r2.json"), [], verify_files.file_sha256
    other.write_bytes(sign(world.receipt(world.trace(response="responses/r2")), KEY).dumps())
    monkeypatch.setattr(verify_files, "file_sha256", lambda file: (hashed.append(file.name), known(file))[1])
    result = command(receipt_file, other, "--base", world.base)
    assert result.exit_code == 0, result.output
    assert result.output.count("The receipt holds.") == 2
    assert hashed == ["model.safetensors"]


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


def test_what_this_machine_cannot_check_is_not_the_receipts_fault(command, world, receipt_file, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(evidence, "measure", full)
    result = command(receipt_file, "--base", world.base)
    assert result.exit_code == 2
    assert "memory is exhausted. This says nothing about the receipt" in result.stderr
    assert "does not hold" not in result.output


def test_without_what_loads_models_it_says_what_to_install(command, world, receipt_file, monkeypatch):
    monkeypatch.setattr(verify_command, "find_spec", lambda _: None)
    result = command(receipt_file, "--base", world.base)
    assert result.exit_code == 2
    assert "pip install 'openledger[model]'" in result.output
