"""Attribution over real gRPC: traces in, signed receipts out, exactly once, whatever the traces and whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from eth_account import Account
from safetensors.numpy import load_file, save

from openledger import receipt as receipts
from openledger import trace_proto
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Client, Wallet
from openledger.openlora.v1 import openlora_pb2
from openledger.split import Rule
from openledger.verify import verify_receipt
from services.attribution.__main__ import assemble
from services.kit.server import Assembly
from services.kit.testing import SECRET, as_service, served
from tests.attribution_world import OPERATOR, PAYER, PLATFORM, RULE, STRANGER, Artifacts, Peers, World, world
from tests.published import OWNER


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Artifacts:
    return Artifacts.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
async def around(tmp_path, made):
    async with world(tmp_path, made.copy(tmp_path / "artifacts")) as everything:
        yield everything


@asynccontextmanager
async def attribution(around: World, **more: object):
    """The service in this process; gives its address and its assembly."""
    assembly = await assemble(around.config(**more))
    async with served(assembly) as where:
        yield where, assembly


async def read(client: Client, count: int, after: int = 0, seconds: float = 20) -> list[pb.ReceiptEntry]:
    """Receipts after an offset, once there are `count`, read page by page as the ledger does."""
    entries: list[pb.ReceiptEntry] = []
    async with asyncio.timeout(seconds):
        while len(entries) < count:
            after = entries[-1].offset if entries else after
            request = pb.ReadReceiptsRequest(after_offset=after, max_entries=3, wait_seconds=1)
            entries += (await client.call(client.attribution.ReadReceipts, request)).entries
    return entries


def counted(assembly: Assembly, metric: str) -> dict[str, float]:
    """A counter's values by its label."""
    samples = [sample for family in assembly.metrics.registry.collect() for sample in family.samples]
    return {next(iter(s.labels.values()), ""): s.value for s in samples if s.name == f"openledger_attribution_{metric}"}


async def stumbled(assembly: Assembly) -> None:
    """Returns once the reading of traces has failed, as a metric tells its operators."""
    async with asyncio.timeout(10):
        while not counted(assembly, "background_failures_total"):
            await asyncio.sleep(0.05)


async def dead_letters(around: World, where: str, count: int) -> dict[str, pb.DeadLetter]:
    """By id of the response, once there are `count`."""
    async with around.client(OPERATOR, where) as client, asyncio.timeout(20):
        while True:
            reply = await client.call(client.attribution.ListDeadLetters, pb.ListDeadLettersRequest())
            if len(reply.dead_letters) >= count:
                return {letter.name.removeprefix("deadLetters/"): letter for letter in reply.dead_letters}
            await asyncio.sleep(0.05)


async def get(around: World, who: Wallet, where: str, number: object, wait: float = 0) -> pb.Receipt:
    async with around.client(who, where) as client:
        request = pb.GetReceiptRequest(name=f"receipts/{number}", wait_seconds=wait)
        return await client.call(client.attribution.GetReceipt, request)


async def refusal(around: World, who: Wallet, where: str, number: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await get(around, who, where, number)
    return caught.value


async def test_traces_become_receipts_that_a_stranger_can_verify(around):
    artifacts = around.artifacts
    around.peers.add(artifacts.trace(1), artifacts.trace(2, adapter=""))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
        key = (around.folder / "attribution" / "signing.key").read_text().strip()
    signer = Account.from_key(key).address.lower()
    for entry, trace in zip(entries, (artifacts.trace(1), artifacts.trace(2, adapter="")), strict=True):
        report = verify_receipt(entry.receipt.document, artifacts.store, artifacts.adapter.base, signer)
        assert report.ok, report.failed
        assert artifacts.store.get(entry.receipt.sha256) == entry.receipt.document
        assert entry.receipt.name == trace.response.replace("responses", "receipts")
        assert {key: int(amount) for key, amount in entry.receipt.shares.items()} == report.receipt.shares
        assert int(entry.receipt.fee) == trace.fee == sum(report.receipt.shares.values())
        assert (report.receipt.rule, report.receipt.platform) == (RULE, PLATFORM)
        assert entry.receipt.create_time.seconds > 1_700_000_000
    of_adapter, of_base = (receipts.parse(entry.receipt.document) for entry in entries)
    assert of_adapter.method == "shadow-trajectories.v1"
    assert of_adapter.developer == OWNER
    assert of_adapter.evidence.scores.keys() == set(artifacts.adapter.contributors)
    assert of_base.method == "base.v1"
    assert (of_base.developer, of_base.model.index_root) == ("", "")
    assert of_base.shares.keys() == {"base", "developer", "stakers", "platform"}


async def test_a_restart_in_the_middle_loses_and_doubles_nothing(around):
    traces = [around.artifacts.trace(number) for number in range(1, 8)]
    around.peers.add(*traces[:4])
    async with attribution(around, traces_per_batch=1) as (where, _), as_service("ledger", attribution=where) as ledger:
        first = await read(ledger, 2)
    around.peers.add(*traces[4:])
    async with attribution(around, traces_per_batch=3) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 7)
        await asyncio.sleep(0.2)
        assert len(await read(ledger, 7)) == 7
    assert [e.offset for e in entries] == list(range(1, 8))
    assert [e.receipt.response for e in entries] == [t.response for t in traces]
    assert [e.receipt.document for e in entries[: len(first)]] == [e.receipt.document for e in first]


async def test_a_trace_that_comes_twice_has_one_receipt_and_another_one_of_its_name_has_none(around):
    trace = around.artifacts.trace(1)
    forged = replace(trace, fee=trace.fee * 2)
    around.peers.add(trace, trace, around.artifacts.trace(2), trace, forged, around.artifacts.trace(3))
    async with attribution(around, traces_per_batch=3) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 3)
        letters = await dead_letters(around, where, 1)
    assert [e.receipt.response for e in entries] == ["responses/r1", "responses/r2", "responses/r3"]
    assert receipts.parse(entries[0].receipt.document).trace_sha256 == trace.digest()
    assert letters["r1"].reason == "CONFLICTING_TRACE"
    assert letters["r1"].trace_sha256 == forged.digest()


async def test_a_trace_log_made_anew_stops_attribution_until_somebody_decides(around):
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 1)
        around.peers.epoch = "second"
        around.peers.add(around.artifacts.trace(2))
        await stumbled(assembly)
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 1
        around.peers.epoch = "first"
        assert len(await read(ledger, 2)) == 2


def damage(store: ArtifactStore, digest: str) -> None:
    file = store.root / "sha256" / digest[:2] / digest
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")


def revised(artifacts: Artifacts, **changes: object) -> str:
    """Publish a manifest that differs; the name of its revision."""
    lineage = replace(artifacts.lineage, **changes)
    artifacts.store.put(lineage.to_bytes())
    return lineage.revision


def with_weights(artifacts: Artifacts, factor: float) -> str:
    """Publish the adapter with its weights multiplied; the name of its revision."""
    file = artifacts.store.path(artifacts.lineage.files["adapter_model.safetensors"])
    scaled = save({name: tensor * factor for name, tensor in load_file(file).items()}, metadata={"format": "pt"})
    files = {**artifacts.lineage.files, "adapter_model.safetensors": artifacts.store.put(scaled)}
    return revised(artifacts, files=files)


def with_damaged_index(artifacts: Artifacts) -> str:
    copy = bytearray(artifacts.store.get(artifacts.lineage.files["contribution_index.safetensors"]))
    copy[-1] ^= 1
    digest = artifacts.store.put(bytes(copy))
    name = revised(artifacts, files={**artifacts.lineage.files, "contribution_index.safetensors": digest})
    damage(artifacts.store, digest)
    return name


UNKNOWN = "adapters/tiny/revisions/" + "5" * 64
BAD = {
    "UNKNOWN_MODEL": lambda a: {"adapter": UNKNOWN},
    "OTHER_BASE": lambda a: {"base_sha256": "5" * 64},
    "EMPTY_ANSWER": lambda a: {"completion_token_ids": ()},
    "TOKEN_OUTSIDE_VOCABULARY": lambda a: {"completion_token_ids": (5, 100_000)},
    "TOO_LONG": lambda a: {"prompt_token_ids": (5,) * 200},
    "NOT_FINITE": lambda a: {"adapter": with_weights(a, 1e30)},
    "ADAPTER_UNUSABLE": lambda a: {"adapter": with_weights(a, float("nan"))},
    "ARTIFACT_DAMAGED": lambda a: {"adapter": with_damaged_index(a)},
    "INDEX_ROOT_MISMATCH": lambda a: {"adapter": revised(a, index_root="5" * 64)},
    "BAD_FEE": lambda a: {"fee": 1, "platform_fee": 2},
}


async def test_what_cannot_be_attributed_is_put_aside_with_its_reason_and_the_others_go_on(around):
    artifacts, numbers = around.artifacts, {}
    for number, (reason, changes) in enumerate(BAD.items()):
        numbers[reason] = f"r{10 * number}"
        around.peers.add(artifacts.trace(10 * number, **changes(artifacts)), artifacts.trace(10 * number + 1))
    no_trace = trace_proto.to_proto(artifacts.trace(500))
    no_trace.fee = "a lot"
    nameless = openlora_pb2.Trace(response="\0", payer="\0")
    of_other = f"adapters/other/revisions/{artifacts.lineage.digest}"
    around.peers.add(no_trace, nameless, artifacts.trace(501, adapter=of_other), artifacts.trace(502))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, len(BAD) + 1)
        letters = await dead_letters(around, where, len(BAD) + 3)
        for reason, key in numbers.items():
            error = await refusal(around, PAYER, where, key)
            assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEAD_LETTERED")
            assert error.metadata["why"] == reason
            assert "nobody is charged" in error.message
        assert (await refusal(around, STRANGER, where, numbers["TOO_LONG"])).reason == "RECEIPT_NOT_FOUND"
    assert [e.receipt.response for e in entries] == [f"responses/r{10 * n + 1}" for n in range(len(BAD))] + [
        "responses/r502"
    ]
    assert {key: letters[key].reason for key in numbers.values()} == {key: reason for reason, key in numbers.items()}
    assert letters["r500"].reason == "BAD_TRACE"
    assert "a lot" in letters["r500"].message
    assert letters[f"~{2 * len(BAD) + 2}"].reason == "BAD_TRACE"
    assert letters["r501"].reason == "UNKNOWN_MODEL"
    assert len(letters) == len(BAD) + 3
    expected = dict.fromkeys(BAD, 1) | {"BAD_TRACE": 2, "UNKNOWN_MODEL": 2}
    assert counted(assembly, "dead_letters_total") == expected
    assert counted(assembly, "receipts_total") == {"": len(entries)}
    assert counted(assembly, "scoring_cpu_seconds_total")[""] > 0


async def test_a_receipt_is_for_those_whom_it_concerns(around):
    around.peers.add(around.artifacts.trace(1), around.artifacts.trace(2, fee=0, platform_fee=0))
    async with attribution(around) as (where, _):
        mine = await get(around, PAYER, where, "r1", wait=20)
        shares = receipts.parse(mine.document).shares
        assert await get(around, PAYER, where, "r2", wait=20)
        async with as_service("ledger", attribution=where) as ledger:
            name = pb.GetReceiptRequest(name="receipts/r1")
            assert (await ledger.call(ledger.attribution.GetReceipt, name)) == mine
        error = await refusal(around, STRANGER, where, "r1")
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "RECEIPT_NOT_FOUND")
        async with as_service("datanet", attribution=where) as other:
            with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
                await other.call(other.attribution.GetReceipt, name)
        async with Client(ledger.endpoints) as nobody:
            with pytest.raises(ApiError, match="SIGN_IN"):
                await nobody.call(nobody.attribution.GetReceipt, name)
    assert set(around.artifacts.adapter.contributors) & shares.keys()


async def test_a_payee_sees_the_receipt_that_pays_it(around):
    """Contributors, developer and platform are whoever the documents name: here wallets that can sign in."""
    owner = Wallet.create()
    around.peers.add(around.artifacts.trace(1, adapter=revised(around.artifacts, owner=owner.address)))
    async with attribution(around) as (where, _):
        assert (await get(around, owner, where, "r1", wait=20)).response == "responses/r1"


async def test_a_receipt_for_an_unknown_trace_is_not_found_and_says_what_to_do(around):
    async with attribution(around) as (where, _):
        error = await refusal(around, PAYER, where, "nothing")
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "RECEIPT_NOT_FOUND")
        assert "wait_seconds" in error.message
        assert (await refusal(around, PAYER, where, "a/b")).reason == "INVALID_FIELD"
        started = asyncio.get_running_loop().time()
        with pytest.raises(ApiError, match="RECEIPT_NOT_FOUND"):
            await get(around, PAYER, where, "nothing", wait=0.5)
        assert asyncio.get_running_loop().time() - started >= 0.5


async def test_a_payer_lists_what_it_paid_for_in_pages(around):
    other = Wallet.create()
    around.peers.add(*(around.artifacts.trace(n, payer=(other if n == 3 else PAYER).account) for n in range(1, 6)))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        await read(ledger, 5)
        async with around.client(PAYER, where) as client:
            request = pb.ListReceiptsRequest(page_size=3)
            first = await client.call(client.attribution.ListReceipts, request)
            request.page_token = first.next_page_token
            second = await client.call(client.attribution.ListReceipts, request)
            with pytest.raises(ApiError, match="BAD_PAGE_TOKEN"):
                await client.call(client.attribution.ListReceipts, pb.ListReceiptsRequest(page_token="next"))
    assert [r.response for r in first.receipts] == ["responses/r5", "responses/r4", "responses/r2"]
    assert [r.response for r in second.receipts] == ["responses/r1"]
    assert second.next_page_token == ""


async def test_answers_stay_within_a_messages_size(around):
    around.peers.add(*(around.artifacts.trace(n) for n in range(10, 30)))
    async with (
        attribution(around, max_message_bytes=2**16, traces_per_batch=20) as (where, _),
        as_service("ledger", attribution=where) as ledger,
        around.client(PAYER, where) as payer,
    ):
        entries = await read(ledger, 20)
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest(max_entries=100))
        listed = await payer.call(payer.attribution.ListReceipts, pb.ListReceiptsRequest(page_size=100))
    fits = 2**16 // 4 // len(entries[0].receipt.document)
    assert 1 < fits < 20
    assert len(reply.entries) == len(listed.receipts) == fits
    assert reply.high_watermark == 20
    assert listed.next_page_token == str(20 - fits + 1)


async def test_the_stream_goes_on_as_receipts_come(around):
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        stream = ledger.stream(ledger.attribution.WatchReceipts, pb.WatchReceiptsRequest())
        async with asyncio.timeout(20):
            first = await anext(stream)
            around.peers.add(around.artifacts.trace(2))
            second = await anext(stream)
        await stream.aclose()
    assert [e.offset for e in (*first.entries, *second.entries)] == [1, 2]
    assert first.log_epoch == second.log_epoch != ""


async def test_dead_letters_and_the_stream_are_not_for_everybody(around):
    async with attribution(around) as (where, _), around.client(PAYER, where) as payer:
        with pytest.raises(ApiError, match="OPERATORS_ONLY"):
            await payer.call(payer.attribution.ListDeadLetters, pb.ListDeadLettersRequest())
        with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
            await payer.call(payer.attribution.ReadReceipts, pb.ReadReceiptsRequest())


async def test_terms_that_contradict_themselves_hold_receipts_up_and_nothing_is_lost(around):
    around.peers.rule_sha256 = "0" * 64
    around.peers.add(around.artifacts.trace(1))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        await stumbled(assembly)
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())
        assert len(reply.entries) == 0
        around.peers.rule_sha256, around.peers.rule = "", Rule(0, 0, 0)
        (entry,) = await read(ledger, 1)
    assert receipts.parse(entry.receipt.document).rule == Rule(0, 0, 0)


async def test_receipts_wait_for_peers_that_are_away(around, made):
    """OpenLoRA and the ledger come up after Attribution, which serves meanwhile."""
    port, peers = free_port(), Peers()
    peers.add(made.trace(1))
    there = f"127.0.0.1:{port}"
    async with (
        attribution(around, openlora=there, ledger=there) as (where, assembly),
        as_service("ledger", attribution=where) as ledger,
    ):
        await asyncio.sleep(1)
        assert len((await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())).entries) == 0
        async with served(peers.assembly(around.folder, there)):
            assert len(await read(ledger, 1)) == 1
    assert counted(assembly, "background_failures_total") == {}  # it is nobody's fault, and said in one line


async def test_kill_9_of_the_real_process_loses_and_doubles_nothing(around, tmp_path):
    """`python -m services.attribution`, configured by its environment, killed while it measures."""
    traces = [around.artifacts.trace(number) for number in range(1, 13)]
    around.peers.add(*traces)
    environment = {
        **os.environ,
        "OPENLEDGER_ATTRIBUTION_LISTEN": "127.0.0.1:0",
        "OPENLEDGER_ATTRIBUTION_DATA_DIR": str(tmp_path / "data"),
        "OPENLEDGER_ATTRIBUTION_ARTIFACTS_DIR": str(around.artifacts.folder),
        "OPENLEDGER_ATTRIBUTION_SERVICE_SECRET": SECRET,
        "OPENLEDGER_ATTRIBUTION_LEDGER": around.where,
        "OPENLEDGER_ATTRIBUTION_OPENLORA": around.where,
        "OPENLEDGER_ATTRIBUTION_BASE": str(around.artifacts.adapter.base),
        "OPENLEDGER_ATTRIBUTION_OPERATORS": json.dumps([OPERATOR.address]),
        "OPENLEDGER_ATTRIBUTION_TRACES_PER_BATCH": "1",
    }

    @asynccontextmanager
    async def process():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.attribution", env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert child.stdout is not None
        try:
            async with asyncio.timeout(60):
                ready = json.loads(await child.stdout.readline())
            async with as_service("ledger", attribution=f"127.0.0.1:{ready['port']}") as ledger:
                yield child, ledger
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async with process() as (child, ledger):
        before = await read(ledger, 3, seconds=60)
        child.send_signal(signal.SIGKILL)
    async with process() as (child, ledger):
        entries = await read(ledger, len(traces), seconds=60)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await child.wait() == 0
    assert [e.receipt.response for e in entries] == [t.response for t in traces]
    assert [e.receipt.sha256 for e in entries[: len(before)]] == [e.receipt.sha256 for e in before]
