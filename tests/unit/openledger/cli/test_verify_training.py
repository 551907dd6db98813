"""What `openledger verify training` draws by, and how it listens to the process that trains."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
import typer
from eth_abi.abi import encode

from openledger import abi
from openledger.cli import verify_training
from openledger.cli.child import converse
from openledger.cli.rpc import RpcError
from openledger.cli.verify_training import REGISTRY, beacon

REVISION, AT, HASH = "ab" * 32, "0x" + "9" * 40, "0x" + "7e" * 32
REGISTERED = "0x" + abi.event_topic(REGISTRY, "RevisionRegistered").hex()


class Node:
    """A registry that knows one revision."""

    url = "http://somewhere"

    def __init__(self, block_hash: object = HASH) -> None:
        self.block_hash = block_hash

    def call(self, method, *params):
        if method == "eth_blockNumber":
            return hex(9)
        if method == "eth_getCode":
            return "0x60"
        assert (method, params[0]["address"]) == ("eth_getLogs", AT)
        assert params[0]["topics"][0] == REGISTERED
        if params[0]["topics"][1] != "0x" + REVISION:
            return []
        data = encode(["bytes32", "(bytes32,uint64,bytes32)[]", "(uint16,uint16)", "string"], [b"", [], (0, 0), "a"])
        topics = [REGISTERED, "0x" + REVISION, "0x" + "0" * 64, "0x" + "0" * 64]
        where = {"blockNumber": "0x5", "transactionHash": "0x01", "blockHash": self.block_hash}
        return [{"topics": topics, "data": "0x" + data.hex(), **where}]


def test_the_block_that_has_the_model_draws():
    assert beacon(Node(), AT, REVISION) == bytes.fromhex(HASH[2:])


def test_a_model_that_is_not_registered_has_no_block():
    with pytest.raises(ValueError, match="does not know"):
        beacon(Node(), AT, "cd" * 32)


@pytest.mark.parametrize("told", (None, "0x12", "nonsense"))
def test_a_node_that_does_not_say_which_block_it_was_is_not_believed(told):
    with pytest.raises(RpcError, match="block"):
        beacon(Node(told), AT, REVISION)


def program(tmp_path, text):
    file = tmp_path / "program.py"
    file.write_text(text)
    return (sys.executable, str(file))


ECHO = """
import json, sys
order = json.loads(sys.stdin.readline())
print(json.dumps({"progress": order}), flush=True)
print("a word", file=sys.stderr)
print(json.dumps({"result": 1}), flush=True)
"""


def test_what_a_program_says_is_heard_line_by_line(tmp_path):
    said = list(converse(program(tmp_path, ECHO), {"a": "ä\n"}, tmp_path / "log"))
    assert said == [{"progress": {"a": "ä\n"}}, {"result": 1}]
    assert (tmp_path / "log").read_text() == "a word\n"


def test_a_program_that_nobody_listens_to_is_ended(tmp_path):
    lives = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    listening = converse(program(tmp_path, lives), {}, tmp_path / "log")
    pid, start = next(listening), time.monotonic()
    listening.close()
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_thing_draws(tmp_path):
    with pytest.raises(typer.BadParameter, match="both"):
        verify_training.verify_training(
            f"sha256:{REVISION}", tmp_path, seed="5e" * 32, rpc="http://127.0.0.1:1", registry=AT
        )


def test_a_trainer_that_breaks_off_says_nothing_of_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verify_training, "_TRAINER", program(tmp_path, "raise SystemExit('out of memory')"))
    with pytest.raises(typer.Exit) as stop:
        verify_training.verdict_of({}, lambda _: None)
    assert stop.value.exit_code == 2
    told = capsys.readouterr().err
    assert "out of memory" in told
    assert "goes on" in told


def test_what_is_refused_is_said(tmp_path, monkeypatch, capsys):
    refuses = f"print({json.dumps(json.dumps({'refused': 'no records'}))})"
    monkeypatch.setattr(verify_training, "_TRAINER", program(tmp_path, refuses))
    with pytest.raises(typer.Exit) as stop:
        verify_training.verdict_of({}, lambda _: None)
    assert stop.value.exit_code == 2
    assert capsys.readouterr().err == "no records. This says nothing about the model.\n"
