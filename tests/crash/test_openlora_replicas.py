"""`kill -9` of one of two OpenLoRAs at random points under load, and one that is stopped and says nothing for long.

Real processes with a tiny model: chain, ledger, two openloras, attribution, as `openledger up --replicas 2` runs them.
The same request ids are sent to both.  In the end every trace of either log has one receipt and one booking.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from openledger import money, receipt, trace_proto
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2
from openledger.cli.demo import people
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.cli.supervisor import Supervisor
from openledger.client import Client, Endpoints
from openledger.ledger.v1 import ledger_pb2
from openledger.openlora.v1 import openlora_pb2
from services.kit.auth import service_token
from tests import published, tiny_model
from tests.crash.test_kill import Load, everything, progress, settled
from tests.ports import six_free_ports

KILLS = int(os.environ.get("OPENLEDGER_KILLS", "12"))
SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
SILENT_SECONDS = 45.0
"""Longer than a read of a silent replica's log may take."""

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
        replicas=2,
    )
    installation.make()
    adapter = published.publish(ArtifactStore(installation.artifacts), base, folder / "trained")
    return installation, adapter, State.load(folder / "state.json")


def beside(installation: Installation) -> Endpoints:
    """Where the services are, with the second OpenLoRA in the first one's place."""
    return replace(installation.endpoints, openlora=f"127.0.0.1:{installation.port('openlora-2')}")


def as_service(installation: Installation, name: str, endpoints: Endpoints) -> Client:
    secret = (installation.folder / "keys" / "services.secret").read_text().strip()
    return Client(endpoints, token=lambda: service_token(secret, name))


async def test_each_answer_of_either_replica_is_booked_once(world):
    installation, adapter, state = world
    draw, models = random.Random(SEED), ("base", adapter.revision)
    async with Supervisor(installation.waves(), lambda *_: None, restarts=KILLS + 1) as supervisor:
        async with Client(installation.endpoints, state.wallet("payer")) as payer:
            await people.pay_in(payer, state, installation, 1000 * money.OPEN)
        # Not more than is attributed on a machine that does much else: what waits is waited for below.
        calm, killed = (Load(at, state, models, pause=1) for at in (installation.endpoints, beside(installation)))
        workers = [asyncio.create_task(load.run(worker)) for load in (calm, killed) for worker in range(2)]
        for _ in range(KILLS):
            answered = len(killed.completed), len(calm.completed)
            await asyncio.sleep(draw.uniform(0.2, 3.0))
            os.kill(supervisor.pid("openlora-2"), signal.SIGKILL)
            await _progress(calm, answered[1], workers)
            if draw.random() < 0.7:
                await _progress(killed, answered[0], workers)
        await _progress(killed, len(killed.completed), workers)
        calm.stop = killed.stop = True
        await asyncio.gather(*workers)
        await check(installation, calm, killed)
        os.kill(supervisor.pid("openlora-2"), signal.SIGSTOP)
        asked = await _answered_and_received(installation, state, calm, SILENT_SECONDS)
        assert asked > 5, "hardly anything was attributed while the other one was silent"
        os.kill(supervisor.pid("openlora-2"), signal.SIGCONT)
        assert await _answered_and_received(installation, state, killed, 1) > 0
        await check(installation, calm, killed)


async def _progress(load: Load, answered: int, workers: list[asyncio.Task[None]]) -> None:
    """Wait for another answer; or hear at once why somebody has given up."""
    waiting = asyncio.create_task(progress(load, answered))
    done, _ = await asyncio.wait((waiting, *workers), return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    waiting.cancel()


async def _answered_and_received(installation: Installation, state: State, load: Load, seconds: float) -> int:
    """Ask one thing after the other, each once the one before has its receipt; how many those were."""
    end, number = time.monotonic() + seconds, 0
    at = as_service(installation, "ledger", installation.endpoints)
    async with Client(load.endpoints, state.wallet("payer")) as payer, at as ledger:
        while time.monotonic() < end:
            before = set(load.completed)
            await load.one(payer, f"alone-{number}")
            [response] = load.completed.keys() - before
            name = response.replace("responses/", "receipts/")
            request = attribution_pb2.GetReceiptRequest(name=name, wait_seconds=20)
            assert (await ledger.call(ledger.attribution.GetReceipt, request)).response == response
            number += 1
    return number


async def check(installation: Installation, calm: Load, killed: Load) -> None:
    traces = []
    for endpoints in (installation.endpoints, beside(installation)):
        async with as_service(installation, "attribution", endpoints) as client:
            traces += await everything(client.openlora.ReadTraces, openlora_pb2.ReadTracesRequest, client)
    by_response = {e.trace.response: trace_proto.from_proto(e.trace) for e in traces}
    assert len(by_response) == len(traces), "a response has two traces"
    completed = calm.completed | killed.completed
    assert len(completed) == len(calm.completed) + len(killed.completed), "two replicas gave one name"
    assert completed.keys() <= by_response.keys(), "an answer was reported complete and has no trace"
    for response, summary in completed.items():
        assert by_response[response].digest() == summary.trace_sha256
    fees = sum(trace.fee for trace in by_response.values())
    async with as_service(installation, "ledger", installation.endpoints) as client:
        receipts = await settled(client, len(traces), 300)
        documents = {e.receipt.response: receipt.parse(e.receipt.document) for e in receipts}
        assert len(documents) == len(receipts), "a response has two receipts"
        assert documents.keys() == by_response.keys()
        deadline = time.monotonic() + 60
        while True:
            sums = await client.call(client.ledger.GetConservation, ledger_pb2.GetConservationRequest())
            if int(sums.fees) == fees or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
    assert int(sums.fees) == fees == sum(document.fee for document in documents.values())
    assert (sums.difference, sums.trial_balance) == ("0", "0")
