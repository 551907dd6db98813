"""From a record in a Datanet to its contributor's share of an answer that it stood before, over real gRPC.

Datanet, OpenLoRA and Attribution are real, on a tiny model with a really trained adapter; the ledger keeps balances in
memory.  What comes out, a stranger checks.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from openledger import receipt as receipts
from openledger import retrieval
from openledger.artifacts import ArtifactStore
from openledger.attribution.v1 import attribution_pb2
from openledger.client import Client
from openledger.openlora.v1 import openlora_pb2
from openledger.receipt import Receipt
from openledger.verify import verify_receipt
from services.attribution import __main__ as attribution
from services.attribution.config import AttributionConfig
from services.kit.testing import served, settings
from services.openlora.engine import EngineSettings, open_engine
from tests import datanet_world, published, tiny_model
from tests.datanet_world import ADA, BOB, CLEO, OWNER, SNAPSHOT, give
from tests.openlora_world import World, heard
from tests.toy_ledger import ToyLedger, toy_ledger

TEXTS = (
    (ADA, "Sage is gathered in June, before it flowers, and dried in the shade of a roof."),
    (BOB, "Ferries leave at eight every morning but on Sundays."),
    (CLEO, "Sage is gathered in June, before it blooms, and dried in the shade of a roof."),
)
SETTINGS = EngineSettings(context=512, max_running=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, str]:
    """A tiny base model, a folder of artifacts, and an adapter in it."""
    folder = tmp_path_factory.mktemp("made")
    base = tiny_model.make(folder / "base", layers=3, width=32)
    return (
        base,
        folder / "artifacts",
        published.publish(ArtifactStore(folder / "artifacts"), base, folder / "w").revision,
    )


@dataclass
class Everything:
    """A client of OpenLoRA and Attribution, an app that owns the datanet and can pass these records."""

    client: Client
    records: list[openlora_pb2.ContextRecord]
    artifacts: ArtifactStore
    base: Path
    revision: str
    ledger: ToyLedger
    attribution: str

    async def ask(
        self, *which: int, model: str = "", prompt: str = "When is sage gathered?"
    ) -> attribution_pb2.Receipt:
        request = openlora_pb2.GenerateRequest(
            model=model or self.revision,
            prompt=prompt,
            sampling=openlora_pb2.Sampling(max_tokens=12),
            request_id=str(uuid.uuid4()),
            records=[self.records[number] for number in which],
        )
        answer = await heard(self.client, self.client.openlora.Generate, request)
        assert answer.error is None, answer.error
        name = answer.response.replace("responses/", "receipts/")
        wanted = attribution_pb2.GetReceiptRequest(name=name, wait_seconds=30)
        return await self.client.call(self.client.attribution.GetReceipt, wanted)

    async def explained(self, who: object, name: str) -> attribution_pb2.Explanation:
        async with self.ledger.issuer.client(who, attribution=self.attribution) as client:
            return await client.call(client.attribution.Explain, attribution_pb2.ExplainRequest(name=name))

    async def verified(self, message: attribution_pb2.Receipt) -> Receipt:
        wanted = attribution_pb2.GetReceiptTraceRequest(name=message.name)
        trace = (await self.client.call(self.client.attribution.GetReceiptTrace, wanted)).document
        assert verify_receipt(message.document, self.artifacts, self.base).withheld
        report = verify_receipt(message.document, self.artifacts, self.base, trace=trace)
        assert report.ok, [check for check in report.checks if not check.ok]
        assert "records" in {check.name for check in report.checks}
        return receipts.parse(message.document)


@pytest.fixture
async def everything(made, tmp_path) -> AsyncIterator[Everything]:
    base, artifacts, revision = made
    async with toy_ledger(tmp_path) as (ledger, ledger_at), herbs(ledger, tmp_path) as (datanet_at, records):
        world = World(tmp_path, base, ledger, ledger_at)
        own = {"artifacts_dir": artifacts, "datanet": datanet_at, "base": str(base)}
        engine = await open_engine("transformers", base, SETTINGS)
        async with world.life(engine, **own):
            own = {"artifacts_dir": artifacts, "openlora": world.at, "ledger": ledger_at, "base": str(base)}
            config = AttributionConfig(**settings("attribution", tmp_path, **own))
            async with served(await attribution.assemble(config)) as attribution_at:
                endpoints = {"openlora": world.at, "attribution": attribution_at}
                async with ledger.issuer.client(world.wallet, **endpoints) as client:
                    store = ArtifactStore(artifacts)
                    yield Everything(client, records, store, base, revision, ledger, attribution_at)


@asynccontextmanager
async def herbs(ledger: ToyLedger, folder: Path) -> AsyncIterator[tuple[str, list[openlora_pb2.ContextRecord]]]:
    """A Datanet with these texts in a snapshot."""
    anchors = datanet_world.Ledger(issuer=ledger.issuer)
    async with (
        datanet_world.serve_ledger(anchors, folder / "anchors") as anchors_at,
        datanet_world.world(folder / "datanet", anchors, anchors_at) as here,
        here.as_(OWNER) as owner,
    ):
        await datanet_world.open_datanet(owner)
        names = [(await give(here, who, text)).outcomes[0].record for who, text in TEXTS]
        await datanet_world.cut(owner)
        yield here.where, await retrieval.proven(owner, SNAPSHOT, names)


@pytest.mark.timeout(300)
async def test_whose_records_stood_before_a_question_is_measured_told_and_checked(everything):
    message = await everything.ask(0, 1, 2)
    receipt = await everything.verified(message)
    measured = receipt.evidence.retrieval
    assert measured.scores.keys() <= {ADA.address, BOB.address}, "Cleo's text came from Ada's, and is credited to her"
    assert all(score > 0 for score in measured.scores.values()), "whose records are not missed is not told"
    assert sum(receipt.shares.values()) == receipt.fee
    assert dict(message.shares) == {key: str(amount) for key, amount in receipt.shares.items()}
    told = await everything.explained(OWNER_OF_MODEL, message.name)
    assert "Records stood before the question" in " ".join(told.words)
    assert {share.key for share in told.shares} == receipt.shares.keys()

    alone = await everything.verified(await everything.ask(0, model="base"))
    assert alone.evidence.scores == {}
    assert alone.evidence.retrieval.scores.keys() <= {ADA.address}

    plain = receipts.parse((await everything.ask()).document)
    assert plain.evidence.retrieval is None
    assert not any(":" in key for key in plain.shares)


@dataclass(frozen=True)
class Someone:
    """An account whose key nobody has."""

    address: str


OWNER_OF_MODEL = Someone(published.OWNER)


@pytest.mark.timeout(300)
async def test_who_is_paid_for_records_may_read_the_receipt(everything):
    receipt = paid = None
    for number, prompt in enumerate(("When is sage gathered?", "Ferries leave at", "roof", "Sage sage sage")):
        receipt = receipts.parse((await everything.ask(number % 2, prompt=prompt)).document)
        paid = next((key for key in receipt.shares if key.startswith("retrieval:0x")), None)
        if paid:
            break
    assert paid, "random weights, and none of four answers was any likelier for its record"
    name = receipt.response.replace("responses/", "receipts/")
    told = await everything.explained(Someone(paid.removeprefix("retrieval:")), name)
    assert next(share for share in told.shares if share.key == paid).score > 0


def test_a_trace_whose_records_do_not_hold_is_no_receipt(made, tmp_path):
    from services.attribution.resolve import Models
    from services.attribution.score import Unattributable, measure
    from tests.context_world import Snapshot, bytewise, placed
    from tests.unit.openledger.test_trace import TRACE

    base, artifacts, _ = made
    context, prompt = placed([(Snapshot.of(), 0)], bytewise, (5,), (6,))
    scorer = Models(ArtifactStore(artifacts), str(base), tmp_path, threads=1, keep=1).load()
    trace = replace(TRACE, adapter="", prompt_token_ids=prompt, completion_token_ids=(7, 2), context=context)
    for broken in (trace, replace(trace, context=replace(context, start=len(prompt)))):
        with pytest.raises(Unattributable) as caught:
            measure(scorer, broken, None)
        assert caught.value.reason == "BAD_RECORDS"
