from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from openledger import manifest
from openledger.artifacts import ArtifactStore
from services.factory import erase, store, store_revisions
from services.factory.audit import FILE, LEFT_OUT_INDEX, Audit
from services.factory.licence import Attribution, Use
from services.factory.lineage import lineage as signed_lineage
from services.factory.lineage import measured, with_audit
from services.factory.model import State
from services.factory.publish import announce, check_erased, name_it, put_artifacts
from services.factory.run import SnapshotPin
from services.factory.store_snapshots import put_snapshot
from services.kit.errors import Fault
from services.kit.private_files import PrivateFiles
from tests.factory_world import SNAPSHOT, address

KEY = "0x" + "11" * 32


def lineage(job, trained):
    return signed_lineage(job, trained, KEY)


def result(folder):
    """A worker's result with files on disk."""
    folder.mkdir()
    for name in manifest.FILES:
        (folder / name).write_bytes(f"the bytes of {name}".encode())
    return {
        "records": 10,
        "files": {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in manifest.FILES},
        "index_root": "cc" * 32,
        "contributors": {address(1): 6, address(2): 3},
        "metrics": {"records": 9, "records_held_out": 1, "tokens": 300, "loss_before": 2.5, "loss_after": 1.5},
        "dropped": {"TOO_LONG": 1},
        "seconds": 12.5,
    }


@pytest.fixture
def done(job, tmp_path):
    trained = result(tmp_path / "output")
    made = lineage(job, trained)
    return replace(
        job,
        state=State.SUCCEEDED,
        manifest=made.to_bytes(),
        revision=made.revision,
        metrics=measured(trained),
        output=str(tmp_path / "output"),
    )


@pytest.fixture
def private(tmp_path):
    return PrivateFiles(tmp_path / "private")


@pytest.fixture
def artifacts(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


async def test_files_and_manifest_are_artifacts_under_their_digests(done, artifacts, private):
    revision = await put_artifacts(done, artifacts, private)
    document = manifest.parse(artifacts.get(revision.name.rpartition("/")[2]))
    assert document.contributors == {address(1): 6, address(2): 3}
    for name, digest in document.files.items():
        assert artifacts.get(digest) == f"the bytes of {name}".encode()


async def test_the_card_names_the_revision_and_its_terms(done, artifacts, private):
    revision = await put_artifacts(done, artifacts, private)
    card = artifacts.get(revision.card).decode()
    assert card.startswith("---\n")
    for words in (revision.name, "license: cc-by-4.0", "Nothing was measured before publishing"):
        assert words in card
    assert revision.card not in manifest.parse(done.manifest).files.values()


async def test_once_published_the_trained_files_are_not_needed_any_more(done, artifacts, private, tmp_path):
    first = await put_artifacts(done, artifacts, private)
    for name in manifest.FILES:
        (tmp_path / "output" / name).unlink()
    assert (await put_artifacts(done, artifacts, private)).name == first.name


async def test_publishing_once_more_heals_what_was_damaged_meanwhile(done, artifacts, private):
    revision = await put_artifacts(done, artifacts, private)
    files = manifest.parse(done.manifest).files
    for digest in (*files.values(), revision.name.rpartition("/")[2], revision.card):
        place = artifacts.path(digest)
        place.unlink()
        place.write_bytes(b"other bytes")
    await put_artifacts(done, artifacts, private)
    for name, digest in files.items():
        assert artifacts.get(digest) == f"the bytes of {name}".encode()
    assert artifacts.get(revision.name.rpartition("/")[2]) == done.manifest
    assert artifacts.get(revision.card).startswith(b"---")


async def test_what_trainings_again_gave_is_published_from_where_it_lies(job, done, artifacts, private, tmp_path):
    judged = Audit("they agree", (), 0, 0, None, (), False, (), 0, 0, 1.0, 3, 9, "ab" * 32)
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / FILE).write_bytes(judged.to_bytes())
    (tmp_path / "audit" / LEFT_OUT_INDEX).write_bytes(b"vectors")
    files = {
        name: hashlib.sha256((tmp_path / "audit" / name).read_bytes()).hexdigest() for name in (FILE, LEFT_OUT_INDEX)
    }
    trained = result(tmp_path / "again")
    told = with_audit(trained, {"files": files, "words": judged.words})
    made = lineage(job, told)
    audited = replace(done, manifest=made.to_bytes(), revision=made.revision, audit_output=str(tmp_path / "audit"))
    revision = await put_artifacts(audited, artifacts, private)
    assert artifacts.get(manifest.parse(made.to_bytes()).files[FILE]) == judged.to_bytes()
    assert artifacts.has(files[LEFT_OUT_INDEX])
    assert "## Audit\n\nthey agree" in artifacts.get(revision.card).decode()
    assert measured(told).audit == "they agree"


@pytest.mark.parametrize("harm", ("changed", "missing"))
async def test_files_that_are_not_what_was_trained_are_not_published(done, artifacts, private, tmp_path, harm):
    file = tmp_path / "output" / "adapter_model.safetensors"
    file.unlink()
    if harm == "changed":
        file.write_bytes(b"other bytes")
    with pytest.raises(Fault) as fault:
        await put_artifacts(done, artifacts, private)
    assert fault.value.reason == "ADAPTER_LOST"
    assert not list(artifacts.root.rglob("*/*/*")), "nothing is public of what is not all there"


@pytest.mark.parametrize("state", [s for s in State if s is not State.SUCCEEDED])
async def test_only_what_succeeded_is_published(job, artifacts, private, state):
    with pytest.raises(Fault) as fault:
        await put_artifacts(replace(job, state=state), artifacts, private)
    assert fault.value.reason == "NOT_SUCCEEDED"


def test_the_revision_is_named_by_everything_that_made_it(job, tmp_path):
    trained = result(tmp_path / "output")
    names = {
        lineage(changed, trained).revision
        for changed in (
            job,
            replace(job, snapshots=(SnapshotPin(SNAPSHOT, "dd" * 32),)),
            replace(job, base_sha256="dd" * 32),
            replace(job, owner=address(9)),
            replace(job, spec=replace(job.spec, seed=9)),
            replace(job, licence="MIT"),
            replace(job, use=Use.NON_COMMERCIAL),
            replace(job, attributions=(Attribution("datanets/a/snapshots/1", "MIT", "Anne"),)),
        )
    }
    names.add(signed_lineage(job, trained, "0x" + "22" * 32).revision)
    assert len(names) == 9


def test_the_revision_is_not_named_by_when_and_where(job, tmp_path):
    trained = result(tmp_path / "output")
    elsewhere = replace(job, id="two", threads=job.threads, attempts=2, output="/elsewhere")
    assert lineage(elsewhere, trained | {"seconds": 99.0}).revision == lineage(job, trained).revision


def test_further_files_are_named_by_the_manifest_and_the_evaluation_among_them(job, tmp_path):
    trained = result(tmp_path / "output")
    trained["files"] |= {"evaluation.json": "ee" * 32, "curves.png": "ff" * 32}
    made = manifest.parse(lineage(job, trained).to_bytes())
    assert made.files["curves.png"] == "ff" * 32
    assert made.evaluation == "ee" * 32
    assert made.licence == "CC-BY-4.0"


async def test_an_adapter_whose_data_are_erased_is_not_named_any_more(database, done, artifacts, private):
    record, pin = "datanets/letters/records/r1", done.snapshots[0]

    def keep(c):
        store.claim_adapter(c, done.adapter, done.owner)
        store.add_fine_tune(c, done, "done")
        put_snapshot(c, pin, "00" * 32, [record])

    database.write_now(keep)
    database.read_now(lambda c: check_erased(c, done))
    database.write_now(lambda c: erase.note(c, record, "its author's wish"))
    for verb in (check_erased, announce):
        with pytest.raises(Fault) as fault:
            database.write_now(lambda c, v=verb: v(c, done))
        assert (fault.value.reason, fault.value.metadata["record"]) == ("RECORD_ERASED", record)
    assert database.read_now(lambda c: store_revisions.find_revision(c, done.revision)) is None


@pytest.fixture
def on_its_way(database, done):
    """The record of a fine-tune that has been announced; nothing of it is public yet."""
    record = "datanets/letters/records/r1"

    def keep(c):
        store.claim_adapter(c, done.adapter, done.owner)
        store.add_fine_tune(c, done, "done")
        put_snapshot(c, done.snapshots[0], "00" * 32, [record])
        announce(c, done)

    database.write_now(keep)
    return record


async def test_what_is_erased_while_its_files_become_public_is_named_and_flagged(
    database, done, artifacts, private, on_its_way
):
    assert database.write_now(lambda c: erase.note(c, on_its_way, "its author's wish")) == [done.revision]
    revision = await put_artifacts(done, artifacts, private)
    assert [f.record for f in database.write_now(lambda c: name_it(c, revision)).flags] == [on_its_way]


async def test_what_was_announced_by_a_service_that_died_is_not_named_once_its_data_are_erased(
    database, done, on_its_way
):
    database.write_now(lambda c: erase.note(c, on_its_way, "its author's wish"))
    with pytest.raises(Fault) as fault:
        database.write_now(lambda c: announce(c, done))
    assert fault.value.reason == "RECORD_ERASED"


def test_nothing_is_published_under_a_name_that_became_another_accounts(database, done):
    database.write_now(lambda c: store.add_fine_tune(c, replace(done, output=""), "done"))
    other = replace(done, id="other", owner=address(9))

    def taken(c):
        assert store.claim_adapter(c, done.adapter, other.owner) == other.owner
        store.add_fine_tune(c, other, "done")

    database.write_now(taken)
    with pytest.raises(Fault) as fault:
        database.write_now(lambda c: announce(c, done))
    assert fault.value.reason == "ADAPTER_TAKEN"


async def test_what_has_a_name_keeps_it_when_its_data_are_erased(database, done, artifacts, private):
    record = "datanets/letters/records/r1"

    def keep(c):
        store.claim_adapter(c, done.adapter, done.owner)
        store.add_fine_tune(c, done, "done")
        put_snapshot(c, done.snapshots[0], "00" * 32, [record])

    database.write_now(keep)
    revision = await put_artifacts(done, artifacts, private)
    first = database.write_now(lambda c: name_it(c, revision))
    database.write_now(lambda c: erase.note(c, record, "its author's wish"))
    database.write_now(lambda c: announce(c, done))
    again = database.write_now(lambda c: name_it(c, revision))
    assert again.name == first.name
    assert [flag.record for flag in again.flags] == [record]


async def test_a_private_file_must_be_there_until_it_is_public_and_never_becomes_an_artifact(
    job, done, artifacts, private, tmp_path
):
    (tmp_path / "index").write_bytes(b"texts")
    digest = hashlib.sha256(b"texts").hexdigest()
    made = lineage(job, result(tmp_path / "again") | {"private_files": {"span_index.safetensors": digest}})
    withheld = replace(done, manifest=made.to_bytes(), revision=made.revision)
    with pytest.raises(Fault) as fault:
        await put_artifacts(withheld, artifacts, private)
    assert (fault.value.reason, fault.value.metadata["file"]) == ("ADAPTER_LOST", "span_index.safetensors")
    assert not artifacts.has(made.digest), "nothing is promised that is not there"
    private.put(made.digest, "span_index.safetensors", tmp_path / "index")
    revision = await put_artifacts(withheld, artifacts, private)
    assert not artifacts.has(digest)
    private.remove(made.digest)
    assert (await put_artifacts(withheld, artifacts, private)).name == revision.name, "erased since: the name stays"
