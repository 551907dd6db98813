"""A line of fine-tunes, worked through by an executor that does as scripted."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from openledger import manifest
from openledger.adapters import SPAN_INDEX
from openledger.artifacts import ArtifactStore
from openledger.influence.adapter_config import AdapterConfig
from services.factory import store, store_events, trunk_task
from services.factory.admit import Admission
from services.factory.bell import Bell
from services.factory.gather import Gatherer
from services.factory.job import Limits, Runner
from services.factory.model import UNFINISHED, State
from services.factory.private_work import PrivateWork
from services.factory.retention import Retention
from services.factory.run import SnapshotPin
from services.factory.run_shard import shard
from services.kit.executor import Done
from services.kit.private_files import PrivateFiles
from tests.factory_world import SNAPSHOT, ListSource, address, snapshot_records

RESULT = {
    "records": 6,
    "files": dict.fromkeys(manifest.FILES, "ab" * 32),
    "index_root": "cd" * 32,
    "contributors": {address(1): 3, address(2): 3},
    "metrics": {"records": 6, "records_held_out": 0, "steps": 9, "tokens": 60},
    "dropped": {},
    "seconds": 1.0,
}
TRAINED = {"metrics": RESULT["metrics"]}
HANG = object()
KEY = "0x" + "11" * 32
PRIVATE = "services.factory.private_task:private_files"


class Script:
    """An executor that does what is written for each run: raises an error, hangs, or is done."""

    def __init__(self, folder, steps):
        self.folder, self.steps, self.shards, self.discarded, self.stopped = folder, list(steps), [], [], 0
        self.removed, self.found, self.finished, self.trunks, self.expired = [], None, {}, [], []
        self.hanging, self.stopping, self.may_stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_stop.set()

    async def run(self, shard, report):
        if shard.task == trunk_task.TASK:
            self.trunks.append(shard)
            return Done(self.folder, {})
        if shard.task == PRIVATE:
            (self.folder / SPAN_INDEX).write_bytes(b"texts")
            return Done(self.folder, {"files": {SPAN_INDEX: hashlib.sha256(b"texts").hexdigest()}})
        self.shards.append(shard)
        step = self.steps.pop(0) if self.steps else RESULT
        phase = step.get("hang", "training") if isinstance(step, dict) else "training"
        report({"phase": phase, "step": 1, "steps": 9})
        if step is HANG or step == {"hang": phase}:
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.stopping.set()
                await self.may_stop.wait()
                self.stopped += 1
        if isinstance(step, Exception):
            raise step
        return Done(self.folder, step)

    async def find(self, shard):
        return self.finished.get(shard.digest(), self.found)

    async def discard(self, shard):
        self.discarded.append(shard)

    async def expire(self, before, keep):
        self.expired.append((before, keep))

    async def remove(self, shard):
        if shard.task == PRIVATE:
            (self.folder / SPAN_INDEX).unlink(missing_ok=True)
            return
        self.removed.append(shard)


@pytest.fixture
def source():
    return ListSource(snapshot_records(6, 2))


@pytest.fixture
def queue(database, job, source):
    """Puts fine-tunes into the line; returns their ids."""

    def put(*ids):
        for id_ in ids:
            queued = replace(job, id=id_, snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
            database.write_now(lambda c, q=queued: store.add_fine_tune(c, q, "waiting"))

    return put


@pytest.fixture
def work(database, source, tmp_path):
    """Runs the line with an executor that does as scripted, until it is left."""

    @asynccontextmanager
    async def run(*steps, limits=Limits(100, 100)):  # noqa: B008 - frozen
        script, bell = Script(tmp_path, steps), Bell()
        admission = Admission(source, ("tiny",), {})
        gatherer = Gatherer(database, source, ArtifactStore(tmp_path / "records"))
        script.private = PrivateFiles(tmp_path / "private")
        withheld = PrivateWork(database, script, script.private, KEY)
        retention = Retention(database, script, gatherer.kept, 30, shard)
        runner = Runner(database, admission, gatherer, script, withheld, bell, limits, KEY, retention)
        running = asyncio.create_task(runner.run())
        script.bell = bell
        yield script
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    return run


async def at(database, id_, states):
    """The fine-tune once it is in one of the states."""
    async with asyncio.timeout(100):
        while True:
            job = await database.read(lambda c: store.find(c, id_))
            if job.state in states:
                return job
            await asyncio.sleep(0.01)


ENDED = frozenset(State) - UNFINISHED


def said(database, id_):
    return [(e.state, e.message) for e in database.read_now(lambda c: store_events.events(c, id_, 0, 1000))[1]]


FITTED = {"files": {"audit.json": "ef" * 32}, "words": "the paid scores agree well"}


@pytest.fixture
def audited(database, job, source, tmp_path):
    """Puts fine-tunes that leave out each of two contributors into the line; their adapter lies above frozen layers."""
    layers = AdapterConfig("tiny", 4, 8, ("q_proj",), (1,)).to_json()
    (tmp_path / "adapter_config.json").write_text(json.dumps(layers))

    def put(*ids, **changes):
        spec = replace(job.spec, **({"leave_one_out": True} | changes))
        for id_ in ids:
            queued = replace(job, id=id_, spec=spec, snapshots=(SnapshotPin(SNAPSHOT, source.info.root),))
            database.write_now(lambda c, q=queued: store.add_fine_tune(c, q, "waiting"))

    return put


def tasks(script):
    return [shard.task.rpartition(":")[2] for shard in script.shards]
