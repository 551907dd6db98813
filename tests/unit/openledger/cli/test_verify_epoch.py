"""`openledger verify epoch` as people type it, and `openledger verify` as they typed it before."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from openledger.cli.main import app
from tests.epoch_world import PAYER, Ledger
from tests.ledger_world import SIGNER, a_receipt


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A ledger, and the digest of the one epoch that it closed."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    return ledger, ledger.close(*(a_receipt(PAYER, "leases/1", 10**18 + number) for number in range(3)))


def command(*arguments: object):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"COLUMNS": "250"})


def test_the_manifests_file_is_enough(world):
    ledger, digest = world
    result = command("epoch", ledger.artifacts.path(digest), "--signer", SIGNER.address.upper().replace("X", "x"))
    assert result.exit_code == 0, result.output
    assert "The epoch holds." in result.output
    assert result.output.count("✓") == 10


@pytest.mark.parametrize("prefix", ("", "sha256:"))
def test_a_bundle_is_named_as_on_chain(world, prefix):
    ledger, digest = world
    result = command("epoch", prefix + digest, "--artifacts", ledger.artifacts.root, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["ok"], document["bundle"]) == (True, f"sha256:{digest}")
    assert {check["ok"] for check in document["checks"]} == {True}


def test_what_does_not_hold_is_said_with_the_first_reason(world):
    ledger, digest = world
    result = command("epoch", ledger.forge(digest, root="1" * 64), "--artifacts", ledger.artifacts.root)
    assert result.exit_code == 1
    assert "does not hold: the root over these leaves is" in result.output.replace("\n", " ")
    assert result.output.count("✗") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("123",), "is no bundle"),
        (("1" * 64,), "--artifacts"),
        (("1" * 64, "--artifacts", "/nowhere"), "is no folder"),
        (("1" * 64, "--artifacts", "/tmp", "--signer", "me"), "not an address"),
        (("1" * 64, "--artifacts", "/tmp", "--rpc", "chain"), "not the URL"),
        (("1" * 64, "--artifacts", "/tmp", "--challenge"), "needs --rpc"),
    ),
)
def test_what_cannot_be_begun_with_is_refused_with_what_would_be_right(arguments, words):
    result = command("epoch", *arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize("arguments", (("none.json",), ("--json", "none.json"), ("receipt", "none.json")))
def test_without_a_command_receipts_are_meant(arguments):
    result = command(*arguments)
    assert result.exit_code == 2
    assert "none.json cannot be read" in result.output
