"""Attribution over real gRPC beside several replicas of OpenLoRA, which come, go, move and contradict each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from openledger import trace_proto
from openledger.attribution.v1 import attribution_pb2 as pb
from services.attribution.addresses import Addresses
from services.kit.testing import as_service, served
from tests.attribution_world import Peers, World, attribution, counted, dead_letters, read, stumbled
from tests.integration.attribution.test_faults import free_port


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The addresses of replicas, as a name in a cluster would have them: a test changes them."""
    found: set[str] = set()

    async def now(_: Addresses) -> set[str]:
        return set(found)

    monkeypatch.setattr(Addresses, "now", now)
    return found


@asynccontextmanager
async def replica(folder: Path, peers: Peers, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    async with served(peers.assembly(folder / (peers.replica or "unnamed"), listen)) as where:
        yield where


@asynccontextmanager
async def attributed(around: World, *replicas: Peers, **more: object):
    """Attribution beside these replicas; gives its address and its assembly."""
    async with AsyncExitStack() as stack:
        at = [await stack.enter_async_context(replica(around.folder, peers)) for peers in replicas]
        yield await stack.enter_async_context(attribution(around, openlora=",".join(at), **more))


def a_replica(around: World, name: str, *numbers: int, epoch: str = "") -> Peers:
    """One whose log has the answers of those numbers."""
    peers = Peers(replica=name, epoch=epoch or f"log of {name}")
    for number in numbers:
        peers.add(around.artifacts.trace(number, response=f"responses/{name}.r{number}"))
    return peers


async def receipts(where: str) -> list[str]:
    """The responses that have receipts, in order."""
    async with as_service("ledger", attribution=where) as ledger:
        reply = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest(max_entries=1000))
    return [entry.receipt.response for entry in reply.entries]


async def until_received(where: str, count: int) -> list[str]:
    async with as_service("ledger", attribution=where) as ledger:
        await read(ledger, count)
    return await receipts(where)


async def until_acknowledged(peers: Peers, offset: int) -> None:
    async with asyncio.timeout(10):
        while max(peers.acknowledged, default=0) < offset:
            await asyncio.sleep(0.02)


async def test_each_log_is_read_to_its_end_and_each_answer_has_one_receipt(around):
    a, b, unnamed = a_replica(around, "a", 1, 2, 3), a_replica(around, "b", 4, 5), Peers()
    unnamed.add(around.artifacts.trace(6))
    async with attributed(around, unnamed, a, b) as (where, assembly):
        found = await until_received(where, 6)
        for peers, offset in ((unnamed, 1), (a, 3), (b, 2)):
            await until_acknowledged(peers, offset)
        assert counted(assembly, "trace_lag") == {"": 0, "a": 0, "b": 0}
        assert counted(assembly, "replica_silent_seconds").keys() == {"", "a", "b"}
    a.reads.clear()
    b.add(around.artifacts.trace(7, response="responses/b.r7"))
    async with attributed(around, a, b) as (where, assembly):
        again = await until_received(where, 7)
        await until_acknowledged(b, 3)
        assert counted(assembly, "replica_silent_seconds")[""] > 0, "of one that is away it is known that it is"
    assert sorted(found) == sorted([f"responses/{key}" for key in ("a.r1", "a.r2", "a.r3", "b.r4", "b.r5", "r6")])
    assert again == [*found, "responses/b.r7"]
    assert set(a.reads) == {3}, "it goes on at the offset of that replica"


async def test_a_replica_that_never_comes_back_delays_nobody(around):
    """Of one nobody answers at the address, another takes the call and says nothing for ever."""
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    a = a_replica(around, "a", 1)
    async with replica(around.folder, a) as at_a:
        everybody = ",".join((f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", at_a))
        async with attribution(around, openlora=everybody) as (where, assembly):
            await until_received(where, 1)
            for number in range(2, 8):
                a.add(around.artifacts.trace(number, response=f"responses/a.r{number}"))
                assert len(await until_received(where, number)) == number
            assert counted(assembly, "background_failures_total") == {}
    silent.close()


async def test_a_replica_comes_back_at_another_address_and_goes_on_where_it_was(around, there):
    a, b = a_replica(around, "a", 1), a_replica(around, "b", 2)
    async with (
        replica(around.folder, a) as at_a,
        replica(around.folder, b) as at_b,
        attribution(around, replicas_seconds=0.05) as (where, assembly),
    ):
        there |= {at_a, at_b}
        await until_received(where, 2)
        there.remove(at_a)
        await asyncio.sleep(0.7)
        b.add(around.artifacts.trace(3, response="responses/b.r3"))
        await until_received(where, 3)
        a.add(around.artifacts.trace(4, response="responses/a.r4"))
        a.reads.clear()
        await asyncio.sleep(0.5)
        assert a.reads == [], "nobody reads at an address that is not found any more"
        async with replica(around.folder, a, f"127.0.0.1:{free_port()}") as elsewhere:
            there.add(elsewhere)
            found = await until_received(where, 4)
            await until_acknowledged(a, 2)
        assert counted(assembly, "background_failures_total") == {}
    assert len(set(found)) == 4
    assert min(a.reads) == 1, "nothing is read twice"


async def test_an_address_that_is_another_replicas_now_is_not_taken_for_the_first_ones(around, there):
    """The second log is longer: an acknowledgement of the first one's offset would have let its traces go."""
    port = free_port()
    a, c = a_replica(around, "a", 1, 2), a_replica(around, "c", 3, 4, 5)
    there.add(f"127.0.0.1:{port}")
    async with attribution(around) as (where, assembly):
        async with replica(around.folder, a, f"127.0.0.1:{port}"):
            await until_received(where, 2)
            await until_acknowledged(a, 2)
        async with replica(around.folder, c, f"127.0.0.1:{port}"):
            found = await until_received(where, 5)
            await until_acknowledged(c, 3)
        assert counted(assembly, "background_failures_total") == {}
    assert found[2:] == [f"responses/c.r{number}" for number in (3, 4, 5)]
    assert sorted(counted(assembly, "trace_lag")) == ["a", "c"]


async def test_two_addresses_of_one_log_are_read_by_turns(around, there):
    a = a_replica(around, "a", 1, 2, 3)
    async with (
        replica(around.folder, a) as one,
        served(a.assembly(around.folder / "other")) as other,
        attribution(around, replicas_seconds=0.05) as (where, assembly),
    ):
        there |= {one, other}
        assert len(await until_received(where, 3)) == 3
        await until_acknowledged(a, 3)
        there.remove(one)
        await asyncio.sleep(0.7)
        a.add(around.artifacts.trace(4, response="responses/a.r4"))
        assert len(await until_received(where, 4)) == 4
        assert counted(assembly, "background_failures_total") == {}
    assert a.reads == sorted(a.reads), "two that read at once would have read something twice"


async def test_a_log_made_anew_stops_its_own_replica_loudly_and_no_other(around):
    a, b = a_replica(around, "a", 1), a_replica(around, "b", 2)
    async with attributed(around, a, b) as (where, assembly):
        await until_received(where, 2)
        a.epoch, a.messages = "made anew", []
        a.add(*(around.artifacts.trace(n, response=f"responses/a.r{n}") for n in (11, 12)))
        await stumbled(assembly)
        b.add(*(around.artifacts.trace(n, response=f"responses/b.r{n}") for n in (3, 4)))
        found = await until_received(where, 4)
        a.acknowledged.clear()
        await asyncio.sleep(1)
        assert set(a.acknowledged) <= {0}
    assert sorted(found) == ["responses/a.r1", "responses/b.r2", "responses/b.r3", "responses/b.r4"]


async def test_two_logs_of_one_name_are_never_mixed(around):
    one, two = a_replica(around, "a", 1, 2), a_replica(around, "a", 3, 4, 5, epoch="of the other")
    async with attributed(around, one) as (where, _):
        await until_received(where, 2)
    async with attributed(around, one, two) as (where, assembly):
        await stumbled(assembly)
        one.add(around.artifacts.trace(6, response="responses/a.r6"))
        found = await until_received(where, 3)
    assert found[2] == "responses/a.r6"
    assert set(two.acknowledged) == {0}


async def test_messages_that_are_no_traces_are_told_apart_by_their_logs(around):
    replicas = Peers(), a_replica(around, "a"), a_replica(around, "b")
    for peers in replicas:
        message = trace_proto.to_proto(around.artifacts.trace(1))
        message.response = "not a name"
        peers.add(message)
    async with attributed(around, *replicas) as (where, _):
        assert (await dead_letters(around, where, 3)).keys() == {"~1", "~a.1", "~b.1"}


async def test_an_answer_of_which_two_logs_have_a_trace_is_paid_once(around):
    """As where somebody copied a log: the first trace counts."""
    a, b = a_replica(around, "a", 1), a_replica(around, "b", 2)
    b.messages.insert(0, a.messages[0])
    async with attributed(around, a, b) as (where, _):
        await until_acknowledged(b, 2)
        await until_acknowledged(a, 1)
        assert sorted(await receipts(where)) == ["responses/a.r1", "responses/b.r2"]


async def test_replicas_are_found_by_a_name_with_several_addresses(around):
    """Also where nobody answers at one of them, as at ::1 here."""
    a = a_replica(around, "a", 1)
    async with replica(around.folder, a) as at_a:
        named = f"dns:localhost:{at_a.rpartition(':')[2]}"
        async with attribution(around, openlora=named) as (where, _):
            assert await until_received(where, 1) == ["responses/a.r1"]
