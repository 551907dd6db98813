"""From a fine-tune to the words of an explanation: a real Factory, a real Attribution, and a record that is erased."""

from __future__ import annotations

import asyncio

import pytest

from openledger import base_models
from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX
from openledger.attribution.v1 import attribution_pb2 as attribution_api
from openledger.client import request_id
from openledger.factory.v1 import factory_pb2
from openledger.money import Price
from openledger.trace import Trace
from services.attribution.__main__ import assemble as assemble_attribution
from services.attribution.config import AttributionConfig
from services.factory import data
from services.factory.__main__ import assemble as assemble_factory
from services.kit.testing import as_service, served, settings
from tests import factory_world, tiny_model
from tests.attribution_world import PAYER, Peers
from tests.factory_world import Datanet, address, snapshot_records
from tests.integration.attribution.test_explain import Someone
from tests.integration.factory.conftest import OWNER, create, finish, publish

RECORD, CONTRIBUTOR = "datanets/letters/records/r0007", address(1 + 7 % 4)


@pytest.fixture
def base(tmp_path, monkeypatch):
    folder = tiny_model.make(tmp_path / "base", layers=2)
    factory_world.offer(tmp_path / "bases.toml", tiny=folder)
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    return folder


def answer(base, revision):
    """An answer that says what one record says, word for word."""
    tokenizer = data.load_tokenizer(base)
    completion = tokenizer("letter 7? The answer is hhh.", add_special_tokens=False)["input_ids"]
    prompt, price = data.prompt_ids("What do you know?", tokenizer), Price(0, 10**20, 0)
    return Trace(
        response="responses/r1",
        base="tiny",
        base_sha256=base_models.sha256("tiny"),
        adapter=revision,
        prompt_token_ids=prompt,
        completion_token_ids=(*completion, tokenizer.eos_token_id),
        sampling={"max_tokens": 64, "temperature": "0"},
        finish_reason="stop",
        payer=PAYER.account,
        lease="leases/7",
        fee=price.fee(len(prompt), len(completion) + 1),
        platform_fee=0,
        price=price,
        salt="5" * 64,
        published=True,
        start_time="2026-01-02T03:04:05.000000Z",
        end_time="2026-01-02T03:04:06.000000Z",
        engine="none",
    )


@pytest.mark.timeout(300)
async def test_a_fine_tunes_records_are_found_in_an_answer_until_one_is_erased(base, tmp_path):
    async with (
        factory_world.world(tmp_path / "world", Datanet(snapshot_records(40, 4))) as around,
        served(await assemble_factory(around.config(tmp_path, "tiny"))) as factory,
        around.client(OWNER, factory) as owner,
    ):
        words = {"completion_template": "{question} The answer is {answer}.", "max_length": 96, "epochs": 6}
        done = await finish(owner, (await create(owner, "tiny", **words)).name)
        revision = (await publish(owner, done.name)).name
        peers = Peers()
        peers.add(answer(base, revision))
        async with served(peers.assembly(tmp_path / "peers")) as where:
            given = {"openlora": where, "ledger": where, "factory": factory, "base": "tiny", "wait_seconds": 0.5}
            config = AttributionConfig(**settings("attribution", tmp_path, private_check_seconds=0.2, **given))
            async with served(await assemble_attribution(config)) as attribution:

                async def explain(who, wait=30.0):
                    async with peers.issuer.client(who, attribution=attribution) as client:
                        request = attribution_api.ExplainRequest(name="receipts/r1", wait_seconds=wait)
                        return await client.call(client.attribution.Explain, request)

                told = await explain(PAYER)
                assert told.spans_state == attribution_api.SPANS_STATE_READY
                paid = {share.key for share in told.shares}
                assert CONTRIBUTOR in paid
                [span] = told.spans
                assert (span.start_character, span.end_character) == (0, len("letter 7? The answer is hhh."))
                assert [source.contributor for source in span.sources] == [f"accounts/{CONTRIBUTOR}"]
                assert not span.sources[0].records
                mine = await explain(Someone(CONTRIBUTOR))
                assert list(mine.spans[0].sources[0].records) == [RECORD]
                assert (told.records_state, mine.records_state) == (attribution_api.RECORDS_STATE_READY,) * 2
                [best] = [best for best in mine.records if best.contributor == f"accounts/{CONTRIBUTOR}"]
                assert best.records[0].record == RECORD
                assert not any(record.record for best in told.records for record in best.records)

                request = factory_pb2.FlagAdapterRevisionRequest(
                    name="adapters/-/revisions/-", record=RECORD, reason="a wish", request_id=request_id()
                )
                async with as_service("datanet", factory=factory) as datanet:
                    await datanet.call(datanet.factory.FlagAdapterRevision, request)
                for name in (SPAN_INDEX, RECORD_SKETCHES):
                    assert not list((tmp_path / "factory").rglob(name))
                    async with asyncio.timeout(30):
                        while list((tmp_path / "attribution").rglob(name)):
                            await asyncio.sleep(0.05)
                told = await explain(Someone(CONTRIBUTOR))
                assert (told.spans_state, list(told.spans)) == (attribution_api.SPANS_STATE_ERASED, [])
                assert (told.records_state, list(told.records)) == (attribution_api.RECORDS_STATE_ERASED, [])
                assert {share.key for share in told.shares} == paid
