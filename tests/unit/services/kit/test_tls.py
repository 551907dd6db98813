"""Services that are reached by TLS: who gets in, what is renewed while they run, and what an old certificate does."""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from openledger import tls
from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from openledger.tls import RenewedChannel, TlsFiles, open_channel
from services.kit.auth import PUBLIC, Authenticator
from services.kit.config import ServiceConfig
from services.kit.metrics import Metrics
from services.kit.peers import peer_client
from services.kit.server import Assembly, StartError, running
from services.kit.testing import SECRET, endpoints, settings
from services.kit.tls import CertificateOver, Renewed
from tests import certificates
from tests.certificates import Authority

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class ToyConfig(ServiceConfig):
    service: ClassVar[str] = "toy"


class Ledger(ledger_pb2_grpc.LedgerServiceServicer):
    async def GetSettlementInfo(self, request, context):
        return ledger_pb2.SettlementInfo(chain_id=7)


async def no_keys() -> str:
    return '{"keys": []}'


def config(tmp_path, files: TlsFiles, **more) -> ToyConfig:
    return ToyConfig(**settings("toy", tmp_path, **certificates.settings(files), **more))


def toy(tmp_path, files: TlsFiles, **more) -> Assembly:
    return Assembly(
        config=config(tmp_path, files, **more),
        services={
            "openledger.ledger.v1.LedgerService": lambda s: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
                Ledger(), s
            )
        },
        access={"GetSettlementInfo": PUBLIC},
        authenticator=Authenticator(SECRET, no_keys),
        metrics=Metrics("toy"),
    )


async def ask(client: Client) -> int:
    async with client:
        found = await client.call(client.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest(), timeout=5)
        return found.chain_id


async def must_be_refused(at: str, files: TlsFiles | None, name: str = "") -> None:
    """At the door: no call is tried again, as a client's would be."""
    channel = open_channel(at, files, (("grpc.enable_retries", 0),), name)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger_pb2_grpc.LedgerServiceStub(channel).GetSettlementInfo(ledger_pb2.GetSettlementInfoRequest())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    await channel.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def test_who_has_a_certificate_of_the_authority_gets_in_and_nobody_else(tmp_path):
    ours = Authority()
    files = ours.issue(tmp_path / "tls")
    async with running(toy(tmp_path, files)) as port:
        at = endpoints(ledger=f"127.0.0.1:{port}")
        assert await ask(Client(at, tls=files)) == 7
        assert await ask(peer_client(config(tmp_path, files), ledger=at.ledger)) == 7
        stranger = Authority().issue(tmp_path / "theirs")
        refused = (
            TlsFiles(files.authority),
            TlsFiles(files.authority, stranger.certificate, stranger.key),
            stranger,
            None,
        )
        for others in refused:
            await must_be_refused(at.ledger, others)


async def test_callers_need_no_certificate_where_they_are_not_to_have_one(tmp_path):
    files = Authority().issue(tmp_path / "tls")
    async with running(toy(tmp_path, files, tls_callers=False)) as port:
        at = endpoints(ledger=f"127.0.0.1:{port}")
        assert await ask(Client(at, tls=TlsFiles(files.authority))) == 7
        await must_be_refused(at.ledger, None)


async def test_a_service_is_who_its_certificate_says_and_can_be_asked_for_by_that_name(tmp_path):
    files = Authority().issue(tmp_path / "tls", names=("openledger-openlora",))
    async with running(toy(tmp_path, files)) as port:
        at = f"127.0.0.1:{port}"
        assert await ask(peer_client(config(tmp_path, files), tls_name="openledger-openlora", ledger=at)) == 7
        await must_be_refused(at, files)


async def test_all_kinds_of_calls_go_through_a_renewed_channel(tmp_path):
    files = Authority().issue(tmp_path / "tls")
    async with running(toy(tmp_path, files)) as port:
        channel = RenewedChannel(f"127.0.0.1:{port}", files, ())
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        watch.cancel()

        async def asked():
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked())
        names = [service.name async for each in reflected for service in each.list_services_response.service]
        assert "openledger.ledger.v1.LedgerService" in names
        await channel.close()


async def test_a_new_authority_and_new_certificates_are_taken_up_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    files = Authority().issue(tmp_path / "tls")
    async with (
        running(toy(tmp_path, files)) as port,
        Client(endpoints(ledger=f"127.0.0.1:{port}"), tls=files) as client,
    ):
        request = ledger_pb2.GetSettlementInfoRequest()
        assert (await client.call(client.ledger.GetSettlementInfo, request, timeout=5)).chain_id == 7
        Authority().issue(tmp_path / "tls")
        assert (await client.call(client.ledger.GetSettlementInfo, request, timeout=5)).chain_id == 7
        files.certificate.write_bytes(b"broken off in the mid")
        assert (await client.call(client.ledger.GetSettlementInfo, request, timeout=5)).chain_id == 7


async def test_health_is_told_in_clear_on_a_port_of_its_own(tmp_path, free_port):
    files = Authority().issue(tmp_path / "tls")
    where = f"127.0.0.1:{free_port}"
    async with running(toy(tmp_path, files, health_listen=where)), grpc.aio.insecure_channel(where) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        nothing_else = ledger_pb2_grpc.LedgerServiceStub(channel).GetSettlementInfo
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await nothing_else(ledger_pb2.GetSettlementInfoRequest())
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_who_would_watch_health_keeps_no_probe_out(tmp_path, free_port):
    where = f"127.0.0.1:{free_port}"
    files = Authority().issue(tmp_path / "tls")
    async with running(toy(tmp_path, files, health_listen=where)), grpc.aio.insecure_channel(where) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(32)]
        for watch in watching:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await watch.read()
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING


@pytest.mark.parametrize("harm", ("broken", "gone", "another's key", "no certificate"))
async def test_ready_is_who_has_a_valid_certificate_in_use_whatever_lies_in_the_files(
    tmp_path, free_port, harm, monkeypatch
):
    monkeypatch.setattr("services.kit.server._HEALTH_SECONDS", 0.02)
    where, ours = f"127.0.0.1:{free_port}", Authority()
    files = ours.issue(tmp_path / "tls")
    async with (
        running(toy(tmp_path, files, health_listen=where)) as port,
        grpc.aio.insecure_channel(where) as channel,
    ):
        spoil(files, harm)
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(10):
            await asyncio.sleep(0.05)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        others = ours.issue(tmp_path / "others")
        assert await ask(Client(endpoints(ledger=f"127.0.0.1:{port}"), tls=others)) == 7


def spoil(files: TlsFiles, harm: str) -> None:
    if harm == "broken":
        files.certificate.write_bytes(b"broken off in the mid")
    elif harm == "gone":
        files.certificate.unlink()
    elif harm == "another's key":
        files.key.write_bytes(Authority().issue(files.key.parent / "theirs").key.read_bytes())
    else:
        files.certificate.write_bytes(files.key.read_bytes())


def test_what_is_in_use_is_judged_and_said_once(tmp_path, capfd):
    ours = Authority()
    files = ours.issue(tmp_path / "tls")
    renewed = Renewed("toy", files)
    renewed.must_be_valid()
    assert renewed() is None
    spoil(files, "broken")
    for _ in range(3):
        renewed.must_be_valid()
        assert renewed() is None
    assert capfd.readouterr().err.count("those of before go on") == 1
    ours.issue(tmp_path / "tls", since=-2, until=-1)
    for _ in range(2):
        with pytest.raises(CertificateOver, match=r"tls.crt that is in use is valid from"):
            renewed.must_be_valid()
    assert renewed() is not None, "what was looked at is what gRPC is given"
    assert renewed() is None
    for harm in ("another's key", "gone"):
        ours.issue(tmp_path / "tls")  # valid, and of no use
        spoil(files, harm)
        with pytest.raises(CertificateOver):
            renewed.must_be_valid()
    ours.issue(tmp_path / "tls")
    renewed.must_be_valid()
    assert renewed() is not None


async def test_a_taken_health_port_is_said(tmp_path):
    files = Authority().issue(tmp_path / "tls")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=rf"{where} cannot be listened on.*OPENLEDGER_TOY_HEALTH_LISTEN"):
            async with running(toy(tmp_path, files, health_listen=where)):
                pytest.fail("it must not come up")


@pytest.mark.parametrize(("since", "until"), ((-2, -1), (1, 2)))
async def test_without_a_valid_certificate_it_is_not_ready_and_is_again_once_it_has_one(
    tmp_path, free_port, capfd, since, until
):
    ours, where = Authority(), f"127.0.0.1:{free_port}"
    files = ours.issue(tmp_path / "tls", since=since, until=until)
    async with running(toy(tmp_path, files, health_listen=where)), grpc.aio.insecure_channel(where) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        assert "tls.crt that is in use is valid from" in capfd.readouterr().err
        ours.issue(tmp_path / "tls")
        async with asyncio.timeout(10):
            while (await health.Check(health_pb2.HealthCheckRequest())).status != SERVING:
                await asyncio.sleep(0.05)


async def test_what_cannot_be_served_with_is_said_at_the_start(tmp_path):
    files, others = Authority().issue(tmp_path / "tls"), Authority().issue(tmp_path / "others")
    for wrong in (
        TlsFiles(files.authority, files.certificate, others.key),
        TlsFiles(files.authority, tmp_path / "gone.crt", files.key),
        TlsFiles(files.key, files.certificate, files.key),
    ):
        with pytest.raises(StartError, match="OPENLEDGER_TOY_TLS_"):
            async with running(toy(tmp_path, wrong)):
                pytest.fail("it must not come up")


def test_half_of_the_files_is_refused(tmp_path):
    files = Authority().issue(tmp_path / "tls")
    for missing in certificates.settings(files):
        half = {name: file for name, file in certificates.settings(files).items() if name != missing}
        with pytest.raises(ValueError, match="are named together or not at all"):
            ToyConfig(**settings("toy", tmp_path, **half))
