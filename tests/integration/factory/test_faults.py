"""Kills, restarts, second thoughts, and a Datanet that is away or lies."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from safetensors.torch import load_file, save_file

from openledger.factory.v1 import factory_pb2 as pb
from tests.factory_world import address, offer
from tests.integration.factory.conftest import (
    LONG,
    OWNER,
    cancel,
    create,
    creation,
    estimate,
    factory,
    finish,
    in_training,
    publish,
    refused,
    watch,
)
from tests.needs import needs
from tests.small_disk import small_disk

pytestmark = pytest.mark.long
SUCCEEDED, FAILED, CANCELLED = (
    pb.FINE_TUNE_STATE_SUCCEEDED,
    pb.FINE_TUNE_STATE_FAILED,
    pb.FINE_TUNE_STATE_CANCELLED,
)


async def undisturbed(around, folder, base, outputs):
    """The revision of the long run when nothing comes in between."""
    async with factory(around, folder, base, executor_dir=outputs) as client:
        return (await finish(client, (await create(client, base, epochs=LONG)).name)).revision


# --- kills and restarts -----------------------------------------------------------------------------------------------


async def test_a_service_stopped_while_training_goes_on_with_the_same_result(around, base, tmp_path, outputs):
    async with factory(around, tmp_path, base) as client:
        made = await create(client, base, epochs=LONG)
        await watch(client, made.name, until=in_training)
    async with factory(around, tmp_path, base) as client:
        done = await finish(client, made.name)
        events = await watch(client, made.name)
    assert "taken up again" in [e.message for e in events]
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    assert done.state == SUCCEEDED
    assert done.revision == await undisturbed(around, tmp_path / "undisturbed", base, outputs)


async def test_kill_9_while_reading_and_while_training_gives_the_same_revision(around, base, tmp_path, outputs):
    config, datanet, request = around.config(tmp_path, base), around.datanet, creation(base, epochs=LONG)
    datanet.break_after = [14] + [0] * 1000
    async with service(config) as (process, where), around.client(OWNER, where) as client:
        made = await client.call(client.factory.CreateFineTune, request)
        await watch(client, made.name, until=lambda e: e.state == pb.FINE_TUNE_STATE_READING)
        process.kill()
    datanet.break_after = []
    async with service(config) as (process, where), around.client(OWNER, where) as client:
        assert await client.call(client.factory.CreateFineTune, request) == made
        await watch(client, made.name, until=in_training)
        process.kill()
    async with service(config) as (process, where), around.client(OWNER, where) as client:
        done = await finish(client, made.name)
        revision = await publish(client, made.name)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    assert revision.name == done.revision == await undisturbed(around, tmp_path / "undisturbed", base, outputs)
    assert not list((tmp_path / "factory" / "executor").glob(".*")), "what the killed worker left was cleared away"


class service:  # noqa: N801 - used as a context manager
    """`python -m services.factory`, configured by the environment alone; gives the process and its address."""

    def __init__(self, config):
        names = ("data_dir", "artifacts_dir", "ledger", "datanet", "threads", "precision", "signing_key_file")
        values = {name: getattr(config, name) for name in names}
        values |= {"bases": ",".join(config.bases), "service_secret": config.service_secret.get_secret_value()}
        self._environment = {f"OPENLEDGER_FACTORY_{name.upper()}": str(value) for name, value in values.items()}

    async def __aenter__(self):
        self._process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "services.factory"],
            env=os.environ | self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = await asyncio.to_thread(self._process.stdout.readline)
        return self._process, f"127.0.0.1:{json.loads(line)['port']}"

    async def __aexit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


async def test_a_worker_that_is_killed_is_replaced(alone, around, base, tmp_path, outputs):
    made = await create(alone, base, epochs=LONG)
    await watch(alone, made.name, until=in_training)
    os.kill(worker(), signal.SIGKILL)
    done = await finish(alone, made.name)
    assert done.state == SUCCEEDED
    assert "the worker died; starting again (1 of 3)" in [e.message for e in await watch(alone, made.name)]
    assert done.revision == await undisturbed(around, tmp_path / "undisturbed", base, outputs)


def worker() -> int:
    """The process id of this process's one worker: a child of its fork server."""
    [server] = [pid for pid in children(os.getpid()) if "executor_forkserver" in command(pid)]
    [found] = [pid for pid in children(server) if command(pid)]  # what has ended, and was not waited for yet, has none
    return found


def children(pid: int) -> list[int]:
    """Of all its threads."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_there(pid) -> bool:
    return Path(f"/proc/{pid}").exists()


# --- second thoughts --------------------------------------------------------------------------------------------------


async def test_cancelled_while_it_trains_it_stops_and_drops_what_was_trained(alone, base, tmp_path):
    made = await create(alone, base, epochs=LONG)
    following = await create(alone, base)
    await watch(alone, made.name, until=in_training)
    pid = worker()
    assert (await cancel(alone, made.name)).state == CANCELLED
    assert (await watch(alone, made.name))[-1].state == CANCELLED
    assert (await finish(alone, following.name)).state == SUCCEEDED, "the line moves on"
    assert not is_there(pid)
    assert len(list((tmp_path / "factory" / "executor").iterdir())) == 1
    await refused(publish(alone, made.name), "NOT_SUCCEEDED", grpc.StatusCode.FAILED_PRECONDITION)


async def test_cancelled_while_it_waits_it_never_starts(client, base):
    first = await create(client, base, epochs=LONG + 1)
    second = await create(client, base, seed=1)
    assert (await cancel(client, second.name)).state == CANCELLED
    assert (await cancel(client, first.name)).state == CANCELLED
    states = [event.state for event in await watch(client, second.name)]
    assert states == [pb.FINE_TUNE_STATE_QUEUED, CANCELLED]
    assert (await cancel(client, second.name)).state == CANCELLED, "again is as once"


async def test_what_has_ended_cannot_be_cancelled(client, base):
    done = await finish(client, (await create(client, base)).name)
    await refused(cancel(client, done.name), "ALREADY_ENDED", grpc.StatusCode.FAILED_PRECONDITION)


# --- a Datanet that is away or lies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ({"contributor": address(99)}, {"contributor": "0xnobody"}, {"salt": b"short"}))
async def test_records_that_are_not_what_was_frozen_are_refused(client, base, datanet, change):
    datanet.corrupt(9, **change)
    done = await finish(client, (await create(client, base)).name)
    assert (done.state, done.reason) == (FAILED, "ROOT_MISMATCH")
    await refused(estimate(client, base), "ROOT_MISMATCH", grpc.StatusCode.FAILED_PRECONDITION)


async def test_a_broken_stream_goes_on_where_it_stopped(client, base, datanet):
    datanet.break_after = [15, 15, 30]
    done = await finish(client, (await create(client, base)).name)
    assert done.state == SUCCEEDED
    assert datanet.starts == [0, 14, 14, 28]


async def test_nothing_is_queued_while_the_datanet_is_away(client, base, datanet):
    datanet.away = True
    await refused(create(client, base), "DATANET_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)


# --- training that cannot succeed -------------------------------------------------------------------------------------


async def test_a_loss_that_is_no_number_fails_with_the_reason(around, base_folder, base, tmp_path):
    sick = tmp_path / "sick"
    shutil.copytree(base_folder, sick)
    weights = load_file(sick / "model.safetensors")
    weights["model.norm.weight"] *= 1e38  # its logits leave the range of float32
    save_file(weights, sick / "model.safetensors", metadata={"format": "pt"})
    offer(tmp_path / "bases.toml", sick=sick)
    async with factory(around, tmp_path, "sick") as client:
        done = await finish(client, (await create(client, "sick")).name)
    assert (done.state, done.reason) == (FAILED, "NAN_LOSS")
    assert "the base model's loss of the held-out records is nan" in done.message


@needs("mount")
async def test_no_room_for_an_adapters_files_is_said_and_nothing_half_made_is_left(around, base, tmp_path):
    with small_disk(tmp_path / "disk", 4) as disk:
        async with factory(around, tmp_path, base, executor_dir=disk.folder / "executor") as client:
            disk.fill(leave=10_000)
            done = await finish(client, (await create(client, base)).name)
            assert (done.state, done.reason) == (FAILED, "DISK_FULL")
            await refused(publish(client, done.name), "NOT_SUCCEEDED", grpc.StatusCode.FAILED_PRECONDITION)
            disk.free()
            again = await finish(client, (await create(client, base)).name)
            assert again.state == SUCCEEDED
            assert (await publish(client, again.name)).name.endswith(again.revision)
