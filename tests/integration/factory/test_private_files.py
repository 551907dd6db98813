"""Private files of a revision over real gRPC: made with it, handed out to two, gone with an erased record."""

from __future__ import annotations

import json

import grpc
import pytest

from openledger import adapters, canonical
from openledger.adapters import RECORD_SKETCHES, SPAN_INDEX, TRAINING
from openledger.artifacts import ArtifactStore
from openledger.client import ApiError, Client, request_id
from openledger.factory.v1 import factory_pb2 as pb
from openledger.influence.record_sketches import RecordSketches
from openledger.spans.evidence import find
from openledger.spans.index import SpanIndex
from services.factory import data
from services.kit.testing import as_service
from tests.factory_world import address
from tests.integration.factory.conftest import STRANGER, create, finish, listed, publish, refused, watch

PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
WORDS = {"completion_template": "{question} The answer is {answer}.", "max_length": 96}


async def received(client, revision, file=SPAN_INDEX, offset=0):
    """What a stream brought: sizes told, and bytes."""
    request = pb.ReadPrivateFileRequest(revision=revision, file=file, offset=offset)
    messages = [m async for m in client.stream(client.factory.ReadPrivateFile, request)]
    return {m.size for m in messages}, b"".join(m.data for m in messages)


@pytest.fixture
async def revision(client, base):
    return await publish(client, (await finish(client, (await create(client, base, **WORDS)).name)).name)


async def test_the_manifest_names_a_span_index_that_is_no_artifact(client, around, tmp_path, revision, base_folder):
    store = ArtifactStore(around.config(tmp_path, "tiny").artifacts_dir)
    lineage = adapters.read_manifest(store, revision.name.rpartition("/")[2])
    assert dict(revision.private_files) == lineage.private_files
    assert lineage.private_files.keys() == {RECORD_SKETCHES, SPAN_INDEX}
    digest = lineage.private_files[SPAN_INDEX]
    assert not store.has(digest)
    sizes, whole = await received(client, revision.name)
    assert (sizes, canonical.sha256(whole)) == ({len(whole)}, digest)

    index = SpanIndex(whole)
    index.check()
    assert index.header.owners == len(lineage.contributors) == 4
    records = json.loads(store.get(lineage.files[TRAINING]))["records"]
    assert [int(number) for number in index.records] == list(range(len(records)))
    rows = [sorted(lineage.contributors)[owner] for owner in index.owners]
    assert rows == [contributor for _, contributor in records]
    tokens = data.load_tokenizer(base_folder)("letter 7? The answer", add_special_tokens=False)["input_ids"]
    [span] = find(index, (), tokens)
    assert records[span.sources[0].record][0] == "datanets/letters/records/r0007"
    assert sorted(lineage.contributors)[span.sources[0].owner] == address(1 + 7 % 4)


async def test_it_names_sketches_of_all_records_too(client, around, tmp_path, revision):
    store = ArtifactStore(around.config(tmp_path, "tiny").artifacts_dir)
    lineage = adapters.read_manifest(store, revision.name.rpartition("/")[2])
    _, whole = await received(client, revision.name, RECORD_SKETCHES)
    assert canonical.sha256(whole) == lineage.private_files[RECORD_SKETCHES]
    assert not store.has(lineage.private_files[RECORD_SKETCHES])
    sketches, trained_on = RecordSketches.from_bytes(whole), adapters.trained_on(store, lineage)
    assert dict(sketches.header.contributors) == lineage.contributors
    for who in lineage.contributors:
        assert {trained_on[leaf][1] for leaf in sketches.of(who).leaves.tolist()} == {who}
    assert bytes.fromhex(sketches.header.seed), "a secret, so that nobody can give records for it"
    [done] = await listed(client)
    told = [event for event in await watch(client, done.name) if event.message.startswith("sketching")]
    assert (told[-1].progress.step, told[-1].progress.steps) == (len(trained_on), len(trained_on))


async def test_a_broken_stream_goes_on_where_it_stopped(client, revision):
    _, whole = await received(client, revision.name)
    assert await received(client, revision.name, offset=100) == ({len(whole)}, whole[100:])
    assert await received(client, revision.name, offset=len(whole)) == ({len(whole)}, b"")
    call = received(client, revision.name, offset=len(whole) + 1)
    await refused(call, "BAD_OFFSET", grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_same_run_gives_the_same_bytes(client, base, revision):
    again = await publish(client, (await finish(client, (await create(client, base, **WORDS)).name)).name)
    assert again.name == revision.name
    other = await publish(client, (await finish(client, (await create(client, base, **WORDS, seed=5)).name)).name)
    assert dict(other.private_files) != dict(revision.private_files), "another run has another salt"


async def test_it_is_for_its_owner_and_for_attribution_alone(client, around, revision):
    where = client.endpoints.factory
    _, whole = await received(client, revision.name)
    async with as_service("attribution", factory=where) as attribution:
        assert (await received(attribution, revision.name))[1] == whole
    for name in ("datanet", "openlora", "ledger", "factory"):
        async with as_service(name, factory=where) as service:
            call = received(service, revision.name)
            await refused(call, "NOT_FOR_THIS_CALLER", grpc.StatusCode.PERMISSION_DENIED)
    async with around.client(STRANGER, where) as stranger:
        await refused(received(stranger, revision.name), "REVISION_NOT_FOUND", NOT_FOUND)
    async with Client(client.endpoints) as nobody:
        with pytest.raises(ApiError, match="SIGN_IN"):
            await received(nobody, revision.name)


@pytest.mark.parametrize("file", ("adapter_model.safetensors", "nothing", "../factory.db", "."))
async def test_what_is_no_private_file_of_it_is_not_there(client, revision, file):
    await refused(received(client, revision.name, file), "PRIVATE_FILE_NOT_FOUND", NOT_FOUND)


async def test_what_is_not_published_is_not_handed_out(client, base):
    done = await finish(client, (await create(client, base, **WORDS)).name)
    await refused(received(client, done.revision), "REVISION_NOT_FOUND", NOT_FOUND)


async def test_a_file_that_got_lost_says_what_to_do(client, revision, tmp_path):
    for file in (tmp_path / "factory" / "private").rglob(SPAN_INDEX):
        file.unlink()
    error = await refused(received(client, revision.name), "PRIVATE_FILE_LOST", PRECONDITION)
    assert "make the fine-tune again" in error.message


async def test_an_erased_record_takes_it_away(client, base, revision, tmp_path, outputs):
    unpublished = await finish(client, (await create(client, base, **WORDS, seed=6)).name)
    private = tmp_path / "factory" / "private"
    assert {path.name for path in private.iterdir()} == {
        name.rpartition("/")[2] for name in (revision.name, unpublished.revision)
    }
    request = pb.FlagAdapterRevisionRequest(
        name="adapters/-/revisions/-", record="datanets/letters/records/r0003", reason="x", request_id=request_id()
    )
    async with as_service("datanet", factory=client.endpoints.factory) as datanet:
        await datanet.call(datanet.factory.FlagAdapterRevision, request)
    error = await refused(received(client, revision.name), "PRIVATE_FILE_ERASED", PRECONDITION)
    assert error.metadata["record"] == "datanets/letters/records/r0003"
    assert not list(private.rglob("*"))
    assert not [*outputs.rglob(SPAN_INDEX), *outputs.rglob(RECORD_SKETCHES)], "nor is a worker's copy left"
    again = await publish(client, (await client.call(client.factory.ListFineTunes, pb.ListFineTunesRequest()))
                          .fine_tunes[-1].name)  # fmt: skip
    assert again.name == revision.name, "a name that was given stays"
