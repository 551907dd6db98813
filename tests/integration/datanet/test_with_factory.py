"""A real Datanet and a real Factory: an erased record is trained on no more, and what was trained on it says so."""

from __future__ import annotations

import socket

import pytest

from openledger.client import ApiError, request_id
from openledger.datanet.v1 import datanet_pb2
from openledger.factory.v1 import factory_pb2 as pb
from services.factory.__main__ import assemble
from services.factory.config import FactoryConfig
from services.kit.testing import served, settings
from tests import tiny_model
from tests.datanet_world import ADA, BOB, OWNER, cut, erase, give, open_datanet, world
from tests.factory_world import offer


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def spec(snapshot: str) -> pb.FineTuneSpec:
    return pb.FineTuneSpec(
        base="tiny",
        snapshots=[snapshot],
        prompt_template="Say {text}",
        completion_template="{text}",
        rank=4,
        layers=1,
        epochs=1,
        batch_size=8,
        max_length=64,
    )


async def estimate(client, snapshot):
    return await client.call(client.factory.EstimateFineTune, pb.EstimateFineTuneRequest(spec=spec(snapshot)))


async def tune(client, snapshot):
    """A fine-tune at its end."""
    request = pb.CreateFineTuneRequest(spec=spec(snapshot), adapter_id="letters", request_id=request_id())
    made = await client.call(client.factory.CreateFineTune, request)
    async for _ in client.stream(client.factory.WatchFineTune, pb.WatchFineTuneRequest(name=made.name), 300):
        pass
    return await client.call(client.factory.GetFineTune, pb.GetFineTuneRequest(name=made.name))


async def test_an_erased_record_is_trained_on_no_more_and_flags_what_was(ledger, ledger_at, tmp_path, monkeypatch):
    offer(tmp_path / "bases.toml", tiny=tiny_model.make(tmp_path / "base", layers=2))
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    at = f"127.0.0.1:{free_port()}"
    async with world(tmp_path, ledger, ledger_at, factory=at) as here:
        config = FactoryConfig(
            **settings(
                "factory", tmp_path, bases=("tiny",), threads=1, datanet=here.where, ledger=ledger_at,
                signing_key_file=tmp_path / "factory.key", register_backoff_seconds=5.0,
            )
            | {"listen": at}
        )  # fmt: skip
        async with (
            served(await assemble(config)),
            ledger.issuer.client(OWNER, datanet=here.where, factory=at) as owner,
            here.as_(ADA) as ada,
        ):
            await open_datanet(owner)
            words = [f"{n} {'abcdefgh'[n % 8] * (3 + n % 5)}" for n in range(24)]
            names = [outcome.record for outcome in (await give(here, ADA, *words[:12])).outcomes]
            await give(here, BOB, *words[12:])
            first = await cut(owner)
            assert (await estimate(owner, first.name)).train_records > 0

            assert list((await erase(ada, names[3])).adapter_revisions) == []
            done = await tune(owner, first.name)
            assert (done.state, done.reason) == (pb.FINE_TUNE_STATE_FAILED, "RECORD_ERASED")
            assert names[3] in done.message

            second = await cut(owner)
            assert second.record_count == 23
            done = await tune(owner, second.name)
            assert (done.state, done.reason) == (pb.FINE_TUNE_STATE_SUCCEEDED, "")
            request = pb.PublishAdapterRevisionRequest(fine_tune=done.name, request_id=request_id())
            revision = await owner.call(owner.factory.PublishAdapterRevision, request)

            assert list((await erase(ada, names[5])).adapter_revisions) == [revision.name]
            seen = await ada.call(ada.datanet.GetRecord, datanet_pb2.GetRecordRequest(name=names[5]))
            assert list(seen.adapter_revisions) == [revision.name]
            request = pb.GetAdapterRevisionRequest(name=revision.name)
            flagged = await owner.call(owner.factory.GetAdapterRevision, request)
            assert flagged.state == pb.ADAPTER_REVISION_STATE_FLAGGED
            assert [(flag.record, flag.reason) for flag in flagged.flags] == [(names[5], "erased by its contributor")]
            with pytest.raises(ApiError, match="RECORD_ERASED"):
                await estimate(owner, second.name)
