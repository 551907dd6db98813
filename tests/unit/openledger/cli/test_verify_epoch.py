"""`openledger verify epoch` as people type it, and `openledger verify` as they typed it before."""

from __future__ import annotations

import errno
import json

import pytest
from typer.testing import CliRunner

from openledger.artifacts import ArtifactStore
from openledger.cli.main import app
from openledger.epoch import bundle
from services.kit.testing import NOWHERE
from tests.epoch_world import PAYER, Ledger
from tests.ledger_world import SIGNER, a_receipt
from tests.web_folder import answering, folder_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A ledger, and the digest of the one epoch that it closed."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    return ledger, ledger.close(*(a_receipt(PAYER, "leases/1", 10**18 + number) for number in range(3)))


def command(*arguments: object, **environment: str):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"COLUMNS": "250"} | environment)


def test_the_manifests_file_is_enough(world):
    ledger, digest = world
    result = command("epoch", ledger.artifacts.path(digest), "--signer", SIGNER.address.upper().replace("X", "x"))
    assert result.exit_code == 0, result.output
    assert "The epoch holds." in result.output
    assert result.output.count("✓") == 12


@pytest.mark.parametrize("prefix", ("", "sha256:"))
def test_a_bundle_is_named_as_on_chain(world, prefix):
    ledger, digest = world
    result = command("epoch", prefix + digest, "--artifacts", ledger.artifacts.root, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["ok"], document["outcome"], document["bundle"]) == (True, "holds", f"sha256:{digest}")
    assert {check["ok"] for check in document["checks"]} == {True}


def test_what_does_not_hold_is_said_with_the_first_reason(world):
    ledger, digest = world
    result = command("epoch", ledger.forge(digest, root="1" * 64), "--artifacts", ledger.artifacts.root)
    assert result.exit_code == 1
    assert "does not hold: the root over these leaves is" in result.output.replace("\n", " ")
    assert result.output.count("✗") == 1


def test_a_chain_that_cannot_be_reached_is_not_the_epochs_fault(world):
    ledger, digest = world
    asked = "--artifacts", ledger.artifacts.root, "--rpc", f"http://{NOWHERE}"
    result = command("epoch", digest, *asked)
    assert result.exit_code == 3
    told = result.output.replace("\n", " ")
    assert f"The epoch of bundle {digest} could not be checked: Nothing was found wrong with it." in told
    assert "does not answer" in told
    assert "does not hold" not in told
    assert json.loads(command("epoch", digest, *asked, "--json").stdout)["outcome"] == "could not be checked"
    forged = command("epoch", ledger.forge(digest, root="1" * 64), *asked)
    assert (forged.exit_code, "does not hold: the root over" in forged.output.replace("\n", " ")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("123",), "is no bundle"),
        (("1" * 64,), "--artifacts"),
        (("1" * 64, "--artifacts", "/nowhere"), "is no folder"),
        (("1" * 64, "--artifacts", "http://example.org"), "https is asked for"),
        (("1" * 64, "--artifacts", "https://a@example.org"), "is not the URL of a folder"),
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


@pytest.mark.parametrize("name", ("manifest", "receipts.parquet", "journals.parquet", "leaves.parquet"))
def test_what_this_machine_cannot_read_is_not_the_epochs_fault(world, tmp_path, name):
    ledger, digest = world
    store = ArtifactStore(tmp_path)
    files = {name: file["sha256"] for name, file in ledger.manifest(digest)["files"].items()} | {"manifest": digest}
    for each in files.values():
        store.put(ledger.artifacts.get(each))
    place = store.path(files[name])
    place.unlink()
    missing = command("epoch", digest, "--artifacts", tmp_path)
    assert (missing.exit_code, "cannot be read: No such file" in missing.output) == (1, True)
    place.mkdir()
    result = command("epoch", digest, "--artifacts", tmp_path)
    assert result.exit_code == 2
    assert "This says nothing about the epoch" in result.stderr
    assert "does not hold" not in result.output


@pytest.mark.parametrize("error", (OSError(errno.EIO, "Input/output error"), MemoryError()))
def test_nor_is_a_disk_that_fails_meanwhile_or_memory_that_is_full(world, monkeypatch, error):
    ledger, digest = world

    def failing(*_, **__):
        raise error

    monkeypatch.setattr(bundle.pq.ParquetFile, "iter_batches", failing)
    result = command("epoch", digest, "--artifacts", ledger.artifacts.root)
    assert result.exit_code == 2
    assert (str(error) or "memory is exhausted") in result.stderr


# --- artifacts on a web server


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A ledger, and its epochs' bundles, oldest first."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    return ledger, [ledger.close(a_receipt(PAYER, "leases/1", 10**18 + number)) for number in range(3)]


def files_of(ledger, digest: str, *names: str) -> set[str]:
    return {digest, *(ledger.manifest(digest)["files"][f"{name}.parquet"]["sha256"] for name in names)}


def test_a_stranger_with_a_url_brings_what_it_takes_and_no_more_and_once(chain, tmp_path):
    ledger, digests = chain
    ours = {"OPENLEDGER_CACHE": str(tmp_path)}
    with folder_of(ledger.artifacts) as (url, asked):
        result = command("epoch", digests[-1], "--artifacts", url, "--json", **ours)
        document = json.loads(result.stdout)
        assert (result.exit_code, document["outcome"], document["artifacts"]) == (0, "holds", url)
        wanted = files_of(ledger, digests[2], "receipts", "journals", "leaves")
        wanted |= files_of(ledger, digests[1], "receipts", "leaves") | files_of(ledger, digests[0], "receipts")
        assert sorted(asked) == sorted(f"/sha256/{digest[:2]}/{digest}" for digest in wanted)
    assert command("epoch", digests[-1], "--artifacts", url, **ours).exit_code == 0


def test_what_a_web_server_lacks_is_missing_as_in_a_folder(chain, tmp_path):
    ledger, digests = chain
    some = ArtifactStore(tmp_path / "theirs")
    for digest in digests[1:]:
        for each in files_of(ledger, digest, "receipts", "journals", "leaves"):
            some.put(ledger.artifacts.get(each))
    with folder_of(some) as (url, _):
        result = command("epoch", digests[-1], "--artifacts", url, OPENLEDGER_CACHE=str(tmp_path / "a"))
        assert result.exit_code == 3
        assert "epoch 1 and those before it could not be looked at" in " ".join(result.output.split())
        assert f"not at {url}, which may lack what is published" in result.output
        none = command("epoch", "1" * 64, "--artifacts", url, OPENLEDGER_CACHE=str(tmp_path / "b"))
        assert (none.exit_code, "cannot be read: No such file" in none.output) == (1, True)


def hello(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"hello")


def test_what_a_web_server_does_otherwise_says_nothing_about_the_epoch(tmp_path):
    with answering(hello) as url:
        result = command("epoch", "1" * 64, "--artifacts", url, OPENLEDGER_CACHE=str(tmp_path))
    assert result.exit_code == 2
    assert "what came has another SHA-256. This says nothing about the epoch" in result.stderr
    assert "does not hold" not in result.output
    gone = command("epoch", "1" * 64, "--artifacts", url, OPENLEDGER_CACHE=str(tmp_path))
    assert (gone.exit_code, "This says nothing about the epoch" in gone.stderr) == (2, True)


def test_a_grade_is_held_against_a_folder_alone():
    result = command("grade", "1" * 64, "--artifacts", "https://example.org/artifacts")
    assert (result.exit_code, "copy the folder" in result.output) == (2, True)
