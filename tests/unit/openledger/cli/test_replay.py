"""`openledger replay`: what it asks, what it says, and its exit status."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest
from typer.testing import CliRunner

from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.cli.replay import rate
from openledger.client import ApiError
from openledger.openlora.v1 import openlora_pb2 as pb
from tests.unit.services.openlora.test_sealing import TRACE


def comparison(tokens: int, matched: int, name: str = "responses/1") -> pb.Replay:
    return pb.Replay(
        response=name, tokens=tokens, matched=matched, first_difference=matched, engine_then="a 1", engine_now="b 2"
    )


@pytest.fixture
def service(monkeypatch):
    """Answers that the service has, by name."""
    answers: dict[str, pb.Replay] = {}

    async def call(method, request, timeout):
        assert method == "ReplayAnswer"
        if request.name not in answers:
            raise ApiError(grpc.StatusCode.NOT_FOUND, "ANSWER_NOT_FOUND", "there is none", {}, None)
        return answers[request.name]

    @asynccontextmanager
    async def client(self):
        assert not self.makes_key, "who pays is known before"
        yield SimpleNamespace(openlora=SimpleNamespace(ReplayAnswer="ReplayAnswer"), call=call)

    monkeypatch.setattr(Connection, "client", client)
    return answers


def test_the_rate_is_of_all_tokens():
    assert rate([comparison(10, 10), comparison(30, 20)]) == 0.75
    assert rate([]) == 1


def test_answers_that_come_again_are_said_to(service):
    service |= {f"responses/{n}": comparison(5, 5, f"responses/{n}") for n in (1, 2)}
    result = CliRunner().invoke(app, ["replay", "responses/1", "2"])
    assert result.exit_code == 0
    assert "responses/2" in result.output
    assert "100.00%" in result.output


def test_a_file_with_a_trace_names_its_answer(service, tmp_path):
    name = f"responses/{'1' * 32}"
    service[name] = comparison(2, 2, name)
    (tmp_path / "trace.json").write_bytes(TRACE.dumps())
    (tmp_path / "other.json").write_bytes(b"{}")
    result = CliRunner().invoke(app, ["replay", "--json", str(tmp_path / "trace.json")])
    assert json.loads(result.output)["replays"][0]["response"] == name
    assert CliRunner().invoke(app, ["replay", str(tmp_path / "other.json")]).exit_code == 2


def test_one_that_differs_is_told_with_its_place_and_by_the_exit_status(service):
    service |= {"responses/1": comparison(5, 5), "responses/2": comparison(5, 3, "responses/2")}
    result = CliRunner().invoke(app, ["replay", "1", "2"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "to token 3" in result.output
    assert "80.00%" in result.output
    document = json.loads(CliRunner().invoke(app, ["replay", "--json", "1", "2"]).output)
    assert (document["rate"], [one["matched"] for one in document["replays"]]) == (0.8, [5, 3])


def test_one_that_cannot_be_compared_is_told_and_the_others_are_compared(service):
    service |= {"responses/1": comparison(5, 5), "responses/3": comparison(5, 3, "responses/3")}
    only_refused = CliRunner().invoke(app, ["replay", "2", "1"], env={"COLUMNS": "200"})
    assert only_refused.exit_code == 2
    assert "responses/2 cannot be compared. ANSWER_NOT_FOUND: there is none" in only_refused.output
    assert "100.00%" in only_refused.output
    assert CliRunner().invoke(app, ["replay", "2", "3"]).exit_code == 1
    document = json.loads(CliRunner().invoke(app, ["replay", "--json", "2"]).output)
    assert (document["replays"], list(document["refused"])) == ([], ["responses/2"])
