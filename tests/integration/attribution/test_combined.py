"""Two fine-tunes are combined, the sum is asked, its answer is attributed, and a stranger checks it by the command."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from openledger import receipt as receipts
from openledger.artifacts import ArtifactStore
from openledger.cli.main import app
from openledger.client import request_id
from openledger.combined import INDEX, WEIGHTS
from openledger.factory.v1 import factory_pb2
from services.attribution.__main__ import assemble as assemble_attribution
from services.attribution.config import AttributionConfig
from services.factory.__main__ import assemble as assemble_factory
from services.kit.testing import as_service, served, settings
from services.openlora.engine import EngineSettings, open_engine
from tests import factory_world, openlora_world
from tests.attribution_world import Peers, read
from tests.damage import damage_file
from tests.factory_world import SECOND, Datanet, address, snapshot_records
from tests.integration.attribution.test_with_factory import base  # noqa: F401 - a fixture
from tests.integration.factory.conftest import OWNER, STRANGER, create, finish, publish
from tests.toy_ledger import toy_ledger

ENGINE = EngineSettings(context=512, max_running=4, max_active_adapters=2, max_adapters=2, max_rank=16)
WORDS = {
    "completion_template": "{question} The answer is {answer}.",
    "max_length": 96,
    "epochs": 3,
    "learning_rate": 1e-2,
}


async def combined(folder):
    """0.6 of an adapter by four contributors and 0.4 of one by six, two of whom are in the second alone."""
    datanet = Datanet(snapshot_records(40, 4), others={SECOND: snapshot_records(42, 6)})
    async with (
        factory_world.world(folder / "world", datanet) as around,
        served(await assemble_factory(around.config(folder, "tiny"))) as factory,
        around.client(OWNER, factory) as owner,
        around.client(STRANGER, factory) as stranger,
    ):
        jobs = [await create(owner, "tiny", **WORDS), await create(owner, "tiny", snapshots=[SECOND], rank=2, **WORDS)]
        made = [await publish(owner, (await finish(owner, job.name)).name) for job in jobs]
        parents = [
            factory_pb2.CombinedRevision(revision=one.name, weight_bps=weight)
            for one, weight in zip(made, (6_000, 4_000), strict=True)
        ]
        request = factory_pb2.CombineAdapterRevisionsRequest(
            parents=parents, adapter_id="both", request_id=request_id()
        )
        return made, await stranger.call(stranger.factory.CombineAdapterRevisions, request)


async def answered(folder, base_folder, model):
    """The trace of an answer that the sum gave, in OpenLoRA."""
    async with toy_ledger(folder) as (ledger, where):
        world = openlora_world.World(folder, base_folder, ledger, where)
        async with world.life(await open_engine("transformers", base_folder, ENGINE), base="tiny") as client:
            answer = await world.ask(client, "letter 7?", model=model, max_tokens=16)
            assert answer.error is None
            [trace] = await world.traces()
    return trace


async def attributed(folder, trace):
    """The receipt's document, as the ledger reads it."""
    peers = Peers()
    peers.add(trace)
    async with served(peers.assembly(folder / "peers")) as where:
        given = {"openlora": where, "ledger": where, "base": "tiny", "wait_seconds": 0.5}
        config = AttributionConfig(**settings("attribution", folder, **given))
        async with (
            served(await assemble_attribution(config)) as attribution,
            as_service("ledger", attribution=attribution) as ledger,
        ):
            [entry] = await read(ledger, 1)
    return entry.receipt.document


@pytest.mark.timeout(300)
async def test_a_combinations_answer_pays_its_parents_contributors_and_anybody_can_check_it(base, tmp_path):  # noqa: F811
    parents, made = await combined(tmp_path)
    trace = await answered(tmp_path, base, made.name)
    assert trace.adapter == made.name
    document = await attributed(tmp_path, trace)
    receipt = receipts.parse(document)
    assert receipt.evidence.scores.keys() == {address(number) for number in range(1, 7)}
    assert set(receipt.evidence.scores) & receipt.shares.keys(), receipt.evidence
    assert (receipt.developer, receipt.model.index_root) == (STRANGER.address, made.index_root)
    assert sum(receipt.shares.values()) == receipt.fee

    file, store = tmp_path / "receipt.json", ArtifactStore(tmp_path / "artifacts")
    file.write_bytes(document)
    file.with_suffix(".trace").write_bytes(trace.dumps())

    async def verify(status):
        words = ["verify", str(file), "--artifacts", str(store.root), "--base", str(base)]
        result = await asyncio.to_thread(CliRunner().invoke, app, words, env={"COLUMNS": "600"})
        assert result.exit_code == status, result.output
        return result.output

    told = await verify(0)
    for words in ("combination", f"0.6 of {parents[0].name}", f"0.4 of {parents[1].name}", "The receipt holds"):
        assert words in told
    for digest in (parents[0].files[INDEX], parents[1].files[WEIGHTS], made.files[INDEX], made.files[WEIGHTS]):
        damage_file(store, digest)
        assert "damaged" in await verify(1)
        damage_file(store, digest)
    assert "The receipt holds" in await verify(0)
