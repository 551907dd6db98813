"""Starting, draining and ending a service."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
from typing import ClassVar

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.kit import logs
from services.kit.auth import PUBLIC, Authenticator
from services.kit.config import ServiceConfig
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.kit.server import BROKEN, Assembly, StartError, main, running
from services.kit.testing import SECRET, endpoints, settings


class ToyConfig(ServiceConfig):
    service: ClassVar[str] = "toy"


class Slow(ledger_pb2_grpc.LedgerServiceServicer):
    async def GetSettlementInfo(self, request, context):
        await asyncio.sleep(0.5)
        return ledger_pb2.SettlementInfo(chain_id=7)


async def no_keys() -> str:
    return '{"keys": []}'


def assembly(tmp_path, **more) -> Assembly:
    parts = {key: more.pop(key) for key in ("background", "close", "leaving") if key in more}
    name = "openledger.ledger.v1.LedgerService"
    return Assembly(
        config=ToyConfig(**settings("toy", tmp_path, **more)),
        services={name: lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(Slow(), s)},
        access={"GetSettlementInfo": PUBLIC},
        authenticator=Authenticator(SECRET, no_keys),
        metrics=Metrics("toy"),
        **parts,
    )


async def test_health_tells_of_every_service(tmp_path):
    async with running(assembly(tmp_path)) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "openledger.ledger.v1.LedgerService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_taken_port_is_said_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=rf"{where} cannot be listened on.*OPENLEDGER_TOY_LISTEN"):
            async with running(assembly(tmp_path, listen=where)):
                pytest.fail("it must not come up")


async def test_calls_in_hand_get_their_time(tmp_path):
    closed = []
    toy = assembly(tmp_path, drain_seconds=5, close=[lambda: closed.append("store")])
    async with running(toy) as port:
        client = Client(endpoints(ledger=f"127.0.0.1:{port}"))
        call = asyncio.create_task(client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest()))
        await asyncio.sleep(0.2)
    assert (await call).chain_id == 7
    assert closed == ["store"]
    await client.__aexit__()


async def test_who_must_know_that_the_end_begins_is_told_while_calls_are_in_hand(tmp_path):
    told = []
    toy = assembly(tmp_path, drain_seconds=5, leaving=[lambda: told.append(call.done())])
    async with running(toy) as port:
        client = Client(endpoints(ledger=f"127.0.0.1:{port}"))
        call = asyncio.create_task(client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest()))
        await asyncio.sleep(0.2)
        assert told == []
    assert told == [False]
    assert (await call).chain_id == 7
    await client.__aexit__()


async def test_what_does_not_come_up_closes_what_was_made_for_it(tmp_path):
    closed = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError):
            async with running(assembly(tmp_path, listen=where, close=[lambda: closed.append("engine")])):
                pytest.fail("it must not come up")
        with pytest.raises(StartError, match="metrics cannot be served"):
            async with running(assembly(tmp_path, metrics_listen=where, close=[lambda: closed.append("store")])):
                pytest.fail("it must not come up")
    assert closed == ["engine", "store"]


async def test_what_cannot_be_closed_does_not_keep_the_rest_open(tmp_path):
    closed = []

    async def broken() -> None:
        raise OSError("no space left")

    async with running(assembly(tmp_path, close=[broken, lambda: closed.append("engine")])):
        pass
    assert closed == ["engine"]


def start(tmp_path, monkeypatch, capsys, **more) -> str:
    """What `main` says about why it does not start."""

    async def assemble(config: ToyConfig) -> Assembly:
        database = Database(config.database)
        try:
            database.read_now(lambda c: c.exec_driver_sql("SELECT 1"))
        finally:
            database.close()
        raise AssertionError("it must not come so far")

    monkeypatch.setattr(logs, "configure", lambda level: None)
    assert main(ToyConfig(**settings("toy", tmp_path, **more)), assemble) == 3
    return capsys.readouterr().err


def test_a_database_that_is_away_is_said_in_words_and_without_its_password(tmp_path, monkeypatch, capsys):
    said = start(tmp_path, monkeypatch, capsys, database_url="postgresql://me:hunter2@127.0.0.1:1/x")
    assert "toy cannot start: its database postgresql://me:***@127.0.0.1:1/x cannot be used" in said
    assert "OPENLEDGER_TOY_DATABASE_URL" in said
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_a_file_that_is_no_database_is_said_in_words(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.db").write_text("something else altogether")
    said = start(tmp_path, monkeypatch, capsys)
    assert "cannot be used: file is not a database" in said
    assert "Traceback" not in said


def test_a_second_one_in_the_same_folder_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy").mkdir()
    with (tmp_path / "toy" / "toy.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = start(tmp_path, monkeypatch, capsys)
    assert said == f"toy cannot start: another toy runs in {tmp_path}/toy: stop it, or set OPENLEDGER_TOY_DATA_DIR\n"


def test_a_service_that_cannot_go_on_ends_in_order_with_a_status_of_its_own(tmp_path, monkeypatch):
    closed = []

    async def assemble(config: ToyConfig) -> Assembly:
        made = assembly(tmp_path, close=[lambda: closed.append("closed")])
        asyncio.get_running_loop().call_later(0.1, made.broken.set)
        return made

    monkeypatch.setattr(logs, "configure", lambda level: None)
    assert main(ToyConfig(**settings("toy", tmp_path)), assemble) == BROKEN != 0
    assert closed == ["closed"]


@pytest.mark.parametrize("level", ("debug", "info", "warning", "error"))
def test_the_configuration_is_told_at_start_whatever_the_level(tmp_path, capsys, level):
    async def assemble(config: ToyConfig) -> Assembly:
        raise StartError("enough was seen")

    before = structlog.get_config()
    try:
        assert main(ToyConfig(**settings("toy", tmp_path, log_level=level)), assemble) == 3
    finally:
        structlog.configure(**before)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert (line["event"], line["service"], line["config"]["log_level"]) == ("starting", "toy", level)
    assert SECRET not in str(line)


@pytest.mark.parametrize("also", ("", "o" * 32))
def test_that_a_second_secret_is_taken_is_said_at_each_start(tmp_path, capsys, also):
    async def assemble(config: ToyConfig) -> Assembly:
        raise StartError("enough was seen")

    before = structlog.get_config()
    try:
        assert main(ToyConfig(**settings("toy", tmp_path, service_secret_also=also)), assemble) == 3
    finally:
        structlog.configure(**before)
    said = capsys.readouterr().err
    assert ("a second secret of services is taken" in said) == bool(also)
    assert ("OPENLEDGER_TOY_SERVICE_SECRET_ALSO" in said) == bool(also)
    assert "o" * 32 not in said


async def test_background_work_that_fails_is_counted_and_started_again(tmp_path):
    tries = []

    async def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        await asyncio.sleep(60)

    toy = assembly(tmp_path, background={"work": work})
    async with running(toy):
        async with asyncio.timeout(5):
            while len(tries) < 3:
                await asyncio.sleep(0.02)
    failures = toy.metrics.background_failures.labels("work")._value.get()
    assert failures == 2


async def test_metrics_are_served(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with running(assembly(tmp_path, metrics_listen=f"127.0.0.1:{port}")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
    assert "openledger_toy_rpcs_running" in text
