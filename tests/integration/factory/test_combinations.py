"""Published revisions are combined over gRPC and by the command; what becomes of them becomes of their sum."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager

import grpc
import pytest
from typer.testing import CliRunner

from openledger import manifest
from openledger.artifacts import ArtifactStore
from openledger.cli.connection import Connection
from openledger.cli.main import app
from openledger.client import request_id
from openledger.factory.v1 import factory_pb2 as pb
from openledger.names import account
from tests.factory_world import SECOND, Datanet, address, snapshot_records
from tests.integration.factory.conftest import RECORDS, STRANGER, create, finish, publish, refused
from tests.integration.factory.test_replacements import replace, report
from tests.integration.factory.test_revisions import FIRST_ONLY, deprecate, flag, offered, published, resolve

PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def datanet():
    """Two versions of a datanet; the second one lacks the first ten records."""
    return Datanet(snapshot_records(RECORDS, 4), others={SECOND: snapshot_records(RECORDS - 10, 4, start=10)})


def wish(parents, adapter="both", **more):
    named = [pb.CombinedRevision(revision=name, weight_bps=weight) for name, weight in parents]
    given = {"parents": named, "adapter_id": adapter, "request_id": request_id()} | more
    return pb.CombineAdapterRevisionsRequest(**given)


async def combine(client, *parents, **more):
    return await client.call(client.factory.CombineAdapterRevisions, wish(parents, **more))


async def test_a_stranger_combines_what_is_published_and_owns_the_sum(client, base, around, tmp_path):
    one, two = await published(client, base), await published(client, base, snapshots=[SECOND], rank=2)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        request = wish([(two.name, 3_000), (one.name, 7_000)])
        made = await stranger.call(stranger.factory.CombineAdapterRevisions, request)
        assert await stranger.call(stranger.factory.CombineAdapterRevisions, request) == made
        again = await combine(stranger, (one.name, 7_000), (two.name, 3_000))
        assert again.name == made.name, "the same sum is the same revision"
        assert (made.owner, made.signer) == (STRANGER.account, one.signer)
        with_registration = await registered(stranger, made.name)
    terms = {(each.revision, each.weight_bps) for each in made.combines}
    assert terms == {(one.name, 7_000), (two.name, 3_000)}
    assert not made.HasField("metrics")
    assert dict(made.contributors) == {who: one.contributors[who] + two.contributors[who] for who in one.contributors}
    assert list(made.snapshots) == [*one.snapshots, *two.snapshots]
    assert (made.licence, made.use) == (one.licence, pb.USE_COMMERCIAL)
    assert {due.source for due in one.attributions} | {one.name} <= {due.source for due in made.attributions}
    assert with_registration.registration.transaction
    asked = around.ledger.asked[-1]
    assert (asked.revision, asked.developer, len(asked.snapshots)) == (made.name, STRANGER.account, 2)
    artifacts = ArtifactStore(around.config(tmp_path, base).artifacts_dir)
    lineage = manifest.parse(artifacts.get(made.name.rpartition("/")[2]))
    assert all(artifacts.has(digest) for digest in (*lineage.files.values(), made.card))
    await refused(deprecate(client, made.name), "REVISION_NOT_FOUND", NOT_FOUND)
    async with around.client(STRANGER, client.endpoints.factory) as stranger:
        assert (await deprecate(stranger, made.name)).state == pb.ADAPTER_REVISION_STATE_DEPRECATED
    assert not list((tmp_path / "factory" / "combining").iterdir())


async def registered(client, name):
    async with asyncio.timeout(60):
        while not (found := await resolve(client, name)).registration.transaction:
            await asyncio.sleep(0.05)
    return found


async def test_an_erased_record_of_one_flags_the_sum_and_nothing_new_is_made_of_it(client, base):
    one, two = await published(client, base), await published(client, base, snapshots=[SECOND])
    made = await combine(client, (one.name, 5_000), (two.name, 5_000), adapter="letters")
    told = await flag(client.endpoints.factory, FIRST_ONLY)
    assert [revision.name for revision in told.adapter_revisions] == [one.name, made.name]
    found = await resolve(client, made.name)
    assert (found.state, found.flags[0].record) == (pb.ADAPTER_REVISION_STATE_FLAGGED, FIRST_ONLY)
    assert await offered(client) == [two.name]
    await refused(combine(client, (one.name, 5_000), (two.name, 4_000)), "RECORD_ERASED", PRECONDITION)


async def test_what_cannot_be_combined_is_refused_with_what_to_do(client, base):
    one, two = await published(client, base), await published(client, base, snapshots=[SECOND], rank=16)
    hidden = (await finish(client, (await create(client, base, snapshots=[SECOND])).name)).revision
    await refused(combine(client, (one.name, 1), (hidden, 1)), "REVISION_NOT_FOUND", NOT_FOUND)
    wide = await refused(combine(client, (one.name, 1), (two.name, 1)), "CANNOT_COMBINE", PRECONDITION)
    assert re.search(r"(4 \+ 16|16 \+ 4) = 20, and at most 16 is served", wide.message), "in the order of digests"
    await refused(combine(client, (one.name, 1), (one.name, 1)), "CANNOT_COMBINE", PRECONDITION)
    await refused(combine(client, (one.name, 1)), "CANNOT_COMBINE", PRECONDITION)
    for parents in ([], [(one.name, 0), (two.name, 1)], [(one.name, 100_001), (two.name, 1)], [("herbs", 1)],
                    [(one.name, 1)] * 9):  # fmt: skip
        await refused(combine(client, *parents), "INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT)
    invalid = combine(client, (one.name, 1), (two.name, 1), adapter="Both!")
    await refused(invalid, "INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT)
    dora = await publish(client, (await finish(client, (await create(client, base, dora=True)).name)).name)
    turned = await refused(combine(client, (one.name, 1), (dora.name, 1)), "CANNOT_COMBINE", PRECONDITION)
    assert "DoRA" in turned.message


async def test_whoever_leaves_is_left_out_of_what_is_combined(client, base):
    one, two = await published(client, base), await published(client, base, snapshots=[SECOND])
    made = await combine(client, (one.name, 5_000), (two.name, 5_000))
    told = await report(client, made.name, account(address(2)))
    assert told.records == one.contributors[address(2)] + two.contributors[address(2)]
    assert "It is a combination: replace the revisions that it combines" in " ".join(told.words)
    refusal = await refused(replace(client, made.name, account(address(2))), "CANNOT_REPLACE", PRECONDITION)
    assert "combine what replaces them" in refusal.message


async def test_the_command(client, base, around, monkeypatch):
    one, two = await published(client, base), await published(client, base, snapshots=[SECOND])

    @asynccontextmanager
    async def as_stranger(self, *, signed_in=True):
        async with around.client(STRANGER, client.endpoints.factory) as mine:
            yield mine

    monkeypatch.setattr(Connection, "client", as_stranger)

    async def run(*words, status=0):
        wide = {"COLUMNS": "250"}
        result = await asyncio.to_thread(CliRunner().invoke, app, ["adapter", "combine", *words], env=wide)
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    parents = (f"{one.name}=0.7", f"{two.name}=0.3")
    made = json.loads(await run(*parents, "--name", "both", "--json"))
    assert {each["revision"]: each["weight_bps"] for each in made["combines"]} == {one.name: 7_000, two.name: 3_000}
    told = await run(*parents, "--name", "both", "--use", "non-commercial")
    assert f"0.7 of {one.name}" in told
    assert made["name"] not in told, "another use is another revision"
    for bad in (one.name, f"{one.name}=", f"{one.name}=-1", f"{one.name}=0.12345", f"{one.name}=1e-1", "=0.5"):
        assert "must be <revision>=<weight>" in await run(bad, parents[1], "--name", "both", status=1)
    assert "CANNOT_COMBINE" in await run(parents[0], "--name", "both", status=1)
