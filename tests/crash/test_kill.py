"""`kill -9` at random points under load: nothing lost, nothing doubled, from the answer to the journal.

Real processes with a tiny model: chain, ledger, openlora, attribution under the supervisor that `openledger up` uses.
A payer asks without pause; one process after another is killed at a random moment.  In the end every answer that was
reported complete has exactly one trace, one receipt and one booking, and the books balance to the unit.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
import zlib

import pytest

from openledger import money, receipt, trace_proto
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2
from openledger.cli.demo import people
from openledger.cli.demo.patience import PASSING
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.cli.supervisor import Supervisor
from openledger.client import ApiError, Client, Endpoints
from openledger.ledger.v1 import ledger_pb2
from openledger.openlora.v1 import openlora_pb2
from services.kit.auth import service_token
from tests import published, tiny_model
from tests.ports import six_free_ports

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "24"))
VICTIMS = ("openlora", "attribution", "ledger")
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    base = tiny_model.make(folder / "base")
    installation = Installation(
        folder / "installation",
        six_free_ports(),
        engine="transformers",
        base=str(base),
        services=("ledger", "openlora", "attribution"),
    )
    installation.make()
    adapter = published.publish(ArtifactStore(installation.artifacts), base, folder / "trained")
    return installation, adapter, State.load(folder / "state.json")


class Load:
    """A payer that asks without pause, or with one (seconds), and remembers what was reported complete."""

    def __init__(self, endpoints: Endpoints, state: State, models: tuple[str, ...], pause: float = 0) -> None:
        self.endpoints, self._state, self._models, self._pause = endpoints, state, models, pause
        self.completed: dict[str, openlora_pb2.AnswerSummary] = {}
        self.stop = False

    async def run(self, worker: int) -> None:
        async with Client(self.endpoints, self._state.wallet("payer")) as client:
            number = 0
            while not self.stop:
                await self.one(client, f"{worker}-{number}")
                number += 1
                await asyncio.sleep(self._pause)

    async def one(self, client: Client, key: str) -> None:
        request = openlora_pb2.ChatRequest(
            model=self._models[zlib.crc32(key.encode()) % len(self._models)],
            messages=[openlora_pb2.Message(role="user", content=f"{key} times?")],
            sampling=openlora_pb2.Sampling(max_tokens=8),
            request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, key)),
        )
        while True:
            try:
                async for chunk in client.stream(client.openlora.Chat, request, 60):
                    if chunk.HasField("summary"):
                        again = self.completed.setdefault(chunk.response, chunk.summary)
                        assert again == chunk.summary
                        return
            except ApiError as error:
                if error.reason not in TRANSIENT:
                    raise
                if self.stop:
                    return
                await asyncio.sleep(0.2)


TRANSIENT = PASSING | {"CANCELLED"}


def as_service(installation: Installation, name: str) -> Client:
    secret = (installation.folder / "keys" / "services.secret").read_text().strip()
    return Client(installation.endpoints, token=lambda: service_token(secret, name))


async def everything(read, request_type, client: Client) -> list:
    entries, after = [], 0
    while True:
        page = await client.call(read, request_type(after_offset=after, max_entries=500))
        entries += page.entries
        if not page.entries:
            return entries
        after = page.entries[-1].offset


async def test_kill_9_loses_nothing_and_doubles_nothing(world):
    installation, adapter, state = world
    draw = random.Random(SEED)
    async with Supervisor(installation.waves(), lambda *_: None, restarts=KILLS) as supervisor:
        async with Client(installation.endpoints, state.wallet("payer")) as payer:
            await people.pay_in(payer, state, installation, 1000 * money.OPEN)
        load = Load(installation.endpoints, state, ("base", adapter.revision))
        workers = [asyncio.create_task(load.run(worker)) for worker in range(3)]
        for number in range(KILLS):
            answered = len(load.completed)
            await asyncio.sleep(draw.uniform(0.2, 3.0))
            victim = VICTIMS[number % len(VICTIMS)]
            os.kill(supervisor.pid(victim), signal.SIGKILL)
            # Some of the kills hit a system that is still getting up from the one before.
            if draw.random() < 0.7:
                await progress(load, answered)
        await progress(load, len(load.completed))
        load.stop = True
        await asyncio.gather(*workers)
        await check(installation, load)


async def progress(load: Load, answered: int, seconds: float = 120) -> None:
    """Wait until another answer was completed: the system is up again."""
    deadline = time.monotonic() + seconds
    while len(load.completed) <= answered:
        assert time.monotonic() < deadline, "no answer for two minutes"
        await asyncio.sleep(0.1)


async def check(installation: Installation, load: Load) -> None:
    async with as_service(installation, "attribution") as client:
        traces = await everything(client.openlora.ReadTraces, openlora_pb2.ReadTracesRequest, client)
    by_response = {e.trace.response: trace_proto.from_proto(e.trace) for e in traces}
    assert len(by_response) == len(traces), "a response has two traces"
    assert load.completed.keys() <= by_response.keys(), "an answer was reported complete and has no trace"
    for response, summary in load.completed.items():
        assert by_response[response].digest() == summary.trace_sha256
        assert str(by_response[response].fee) == summary.fee

    async with as_service(installation, "ledger") as client:
        receipts = await settled(client, len(traces))
        assert [e.offset for e in receipts] == list(range(1, len(receipts) + 1))
        documents = {e.receipt.response: receipt.parse(e.receipt.document) for e in receipts}
        assert len(documents) == len(receipts), "a response has two receipts"
        assert documents.keys() == by_response.keys()
        fees = sum(t.fee for t in by_response.values())
        deadline = time.monotonic() + 60
        while True:
            sums = await client.call(client.ledger.GetConservation, ledger_pb2.GetConservationRequest())
            if int(sums.fees) == fees or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
    assert int(sums.fees) == fees == sum(d.fee for d in documents.values())
    assert (sums.difference, sums.trial_balance) == ("0", "0")
    assert int(sums.paid) + int(sums.held) == fees


async def settled(client: Client, expected: int, seconds: float = 120) -> list:
    """All receipts, once there are as many as there are traces."""
    deadline = time.monotonic() + seconds
    while True:
        receipts = await everything(client.attribution.ReadReceipts, attribution_pb2.ReadReceiptsRequest, client)
        if len(receipts) >= expected or time.monotonic() > deadline:
            return receipts
        await asyncio.sleep(0.5)
