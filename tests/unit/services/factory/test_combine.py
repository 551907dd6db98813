"""Combining published revisions: what must be offered, under which terms the sum stands, what befalls its parents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from eth_account import Account

from openledger import combined, manifest
from openledger.artifacts import ArtifactStore
from openledger.manifest import Attribution, Combined, Snapshot
from services.factory import combine, erase, store, store_revisions
from services.factory.combine import Asked, Combiner
from services.factory.licence import Use
from services.factory.model import Revision
from services.factory.run import SnapshotPin
from services.factory.store_snapshots import put_snapshot
from services.kit.errors import Fault
from tests.combining import PEOPLE, parent, publish
from tests.factory_world import address

KEY, ME = "0x" + "11" * 32, address(7)
ANNE, BERT, CLEO = PEOPLE
RECORD = "datanets/one/records/r1"


@pytest.fixture
def artifacts(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def combiner(artifacts, tmp_path):
    combiner = Combiner(artifacts, tmp_path / "combining", {}, KEY, max_rank=16, max_bytes=2**30)
    combiner.open()
    return combiner


@pytest.fixture
def lineages(artifacts):
    notice = (Attribution("datanets/one/snapshots/1", "CC-BY-4.0", "ask Anne"),)
    return (
        publish(artifacts, parent("one", seed=1), (ANNE, BERT), attributions=notice),
        publish(artifacts, parent("two", seed=2, rank=3), (BERT, CLEO), licence="MIT"),
    )


def asked(lineages, use=Use.COMMERCIAL, adapter="both", owner=ME):
    return Asked(owner, adapter, use, tuple(Combined(each.revision, 5_000) for each in lineages))


def folder(tmp_path, name="made"):
    place = Path(tmp_path / name)
    place.mkdir()
    return place


def refused(call, reason):
    with pytest.raises(Fault) as fault:
        call()
    assert fault.value.reason == reason
    return fault.value.message


def test_what_is_published_is_what_a_stranger_makes_of_the_parents(combiner, artifacts, lineages, tmp_path):
    made = combiner.make(asked(lineages), folder(tmp_path))
    assert not artifacts.has(made.lineage.digest), "nothing is public before it is announced"
    revision = combiner.publish(made)
    lineage = manifest.parse(artifacts.get(revision.name.rpartition("/")[2]))
    assert (lineage, revision.fine_tune, revision.metrics) == (made.lineage, None, None)
    assert (lineage.owner, lineage.signer) == (ME, Account.from_key(KEY).address.lower())
    assert lineage.contributors == {ANNE: 5, BERT: 10, CLEO: 5}
    peft = folder(tmp_path, "peft")
    for name in (combined.CONFIG, combined.WEIGHTS):
        (peft / name).write_bytes(artifacts.get(lineage.files[name]))
    files = {combined.INDEX: artifacts.path(lineage.files[combined.INDEX])}
    assert "0.5 of adapters/one" in combined.check(artifacts, lineage, peft, files)
    card = artifacts.get(revision.card).decode()
    for words in ("## Combines", lineages[0].revision, "adding up the same revisions", revision.name):
        assert words in card
    assert "training again" not in card


def test_the_same_again_is_the_same_revision(combiner, lineages, tmp_path):
    first, second = (combiner.make(asked(order), folder(tmp_path, name))
                     for order, name in ((lineages, "a"), (lineages[::-1], "b")))  # fmt: skip
    assert first.lineage == second.lineage


def test_licences_are_united_and_everybody_is_named(combiner, lineages, tmp_path):
    lineage = combiner.make(asked(lineages), folder(tmp_path)).lineage
    assert (lineage.licence, lineage.use) == ("CC-BY-4.0 AND MIT", "commercial")
    assert set(lineage.attributions) == {
        Attribution(lineages[0].revision, "CC-BY-4.0", ""),
        Attribution(lineages[1].revision, "MIT", ""),
        Attribution("datanets/one/snapshots/1", "CC-BY-4.0", "ask Anne"),
    }


@pytest.mark.parametrize(
    ("terms", "use", "reason"),
    (
        ({"licence": "CC-BY-NC-4.0", "use": "non-commercial"}, Use.COMMERCIAL, "LICENCE_NON_COMMERCIAL"),
        ({"use": "non-commercial"}, Use.COMMERCIAL, "LICENCE_NON_COMMERCIAL"),
        ({"licence": "CC-BY-NC-4.0"}, Use.COMMERCIAL, "LICENCE_NON_COMMERCIAL"),
        ({"licence": "CC-BY-ND-4.0"}, Use.COMMERCIAL, "LICENCE_FORBIDS_DERIVATIVES"),
        ({"licence": "LicenseRef-Ours"}, Use.COMMERCIAL, "LICENCE_UNKNOWN"),
        ({"licence": "ODbL-1.0"}, Use.COMMERCIAL, "LICENCES_INCOMPATIBLE"),
    ),
)
def test_a_parents_terms_bind(combiner, artifacts, tmp_path, terms, use, reason):
    pair = [publish(artifacts, parent("one"), licence="CC-BY-SA-4.0"), publish(artifacts, parent("two"), **terms)]
    refused(lambda: combiner.make(asked(pair, use), folder(tmp_path)), reason)


def test_non_commercial_use_is_what_the_strictest_parent_leaves(combiner, artifacts, lineages, tmp_path):
    narrow = publish(artifacts, parent("three", seed=3), licence="CC-BY-NC-4.0", use="non-commercial")
    made = combiner.make(asked((lineages[0], narrow), Use.NON_COMMERCIAL), folder(tmp_path))
    assert (made.lineage.use, made.lineage.licence) == ("non-commercial", "CC-BY-4.0 AND CC-BY-NC-4.0")


def test_what_cannot_be_added_up_is_told(combiner, artifacts, lineages, tmp_path):
    one = lineages[0]
    for other, words in (
        (publish(artifacts, parent("wide", rank=15)), "ranks add up: 2 + 15 = 17, and at most 16 is served"),
        (publish(artifacts, parent("turned", dora=True)), "DoRA"),
        (publish(artifacts, parent("lower", layers=(1, 2))), "same maps of the same layers"),
        (one, "name each once"),
    ):
        place = folder(tmp_path, other.adapter)
        told = refused(lambda other=other, place=place: combiner.make(asked((one, other)), place), "CANNOT_COMBINE")
        assert words in told


def test_what_would_be_too_large_is_not_begun(combiner, lineages, tmp_path):
    small = replace(combiner, max_bytes=100)
    told = refused(lambda: small.make(asked(lineages), folder(tmp_path)), "CANNOT_COMBINE")
    assert "COMBINED_INDEX_BYTES" in told


def test_more_snapshots_than_can_be_registered_are_told(combiner, artifacts, lineages, tmp_path):
    many = tuple(Snapshot(f"datanets/many/snapshots/{number}", "cd" * 32) for number in range(16))
    other = publish(artifacts, parent("many", seed=3), snapshots=many)
    told = refused(lambda: combiner.make(asked((lineages[0], other)), folder(tmp_path)), "CANNOT_COMBINE")
    assert "17 snapshots" in told


def test_a_parent_whose_files_are_lost_is_told(combiner, artifacts, lineages, tmp_path):
    digest = lineages[0].files[combined.WEIGHTS]
    (artifacts.root / "sha256" / digest[:2] / digest).unlink()
    assert digest in refused(lambda: combiner.make(asked(lineages), folder(tmp_path)), "CANNOT_COMBINE")


# --- what is offered, and what becomes of it --------------------------------------------------------------------------


@pytest.fixture
def world(database, job, lineages):
    """Both parents published, each from a fine-tune on a snapshot of its own."""

    def fill(c):
        for lineage in lineages:
            pin = SnapshotPin(lineage.snapshots[0].name, lineage.snapshots[0].root)
            store.claim_adapter(c, lineage.adapter, job.owner)
            store.add_fine_tune(c, replace(job, id=lineage.adapter, adapter=lineage.adapter, snapshots=(pin,)), "made")
            put_snapshot(c, pin, "00" * 32, [f"datanets/{lineage.adapter}/records/r1"])
            name, data, now = lineage.revision, lineage.to_bytes(), datetime.now(UTC)
            store_revisions.add_revision(c, Revision(name, lineage.adapter, lineage.adapter, data, None, now))

    database.write_now(fill)
    return database


def published(world, combiner, wish, place):
    made = combiner.make(wish, place)
    world.write_now(lambda c: combine.announce(c, wish, made.revision))
    return world.write_now(lambda c: combine.name_it(c, wish, combiner.publish(made)))


def test_a_parent_must_be_published_and_offered(world, lineages):
    wish = asked(lineages)
    world.read_now(lambda c: combine.check_parents(c, wish))
    unknown = replace(wish, combines=(*wish.combines, Combined("adapters/x/revisions/" + "0" * 64, 1)))
    refused(lambda: world.read_now(lambda c: combine.check_parents(c, unknown)), "REVISION_NOT_FOUND")
    newer = "adapters/one/revisions/" + "9" * 64
    world.write_now(lambda c: store_revisions.deprecate(c, lineages[0].revision, "a better one", newer))
    told = refused(lambda: world.read_now(lambda c: combine.check_parents(c, wish)), "CANNOT_COMBINE")
    assert "a better one" in told
    assert newer in told


def test_nothing_new_is_made_of_what_is_flagged(world, combiner, lineages, tmp_path):
    wish = asked(lineages)
    made = combiner.make(wish, folder(tmp_path))
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    for verb in (combine.check_parents, lambda c, wish: combine.announce(c, wish, made.revision)):
        told = refused(lambda verb=verb: world.write_now(lambda c: verb(c, wish)), "RECORD_ERASED")
        assert RECORD in told
    assert world.read_now(lambda c: store_revisions.find_revision(c, made.lineage.revision)) is None


def test_what_befalls_a_parent_befalls_it(world, combiner, lineages, tmp_path):
    found = published(world, combiner, asked(lineages), folder(tmp_path))
    assert world.read_now(lambda c: store_revisions.is_owner(c, found.name, ME))
    flagged = world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    assert flagged == [lineages[0].revision, found.name]
    [flag] = world.read_now(lambda c: store_revisions.find_revision(c, found.name)).flags
    assert (flag.record, flag.reason) == (RECORD, "its author's wish")


def test_what_befalls_a_parent_while_its_files_become_public_befalls_it(world, combiner, lineages, tmp_path):
    wish = asked(lineages)
    made = combiner.make(wish, folder(tmp_path))
    world.write_now(lambda c: combine.announce(c, wish, made.revision))
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    found = world.write_now(lambda c: combine.name_it(c, wish, combiner.publish(made)))
    assert [flag.record for flag in found.flags] == [RECORD]


def test_a_revision_that_the_datanet_names_flags_what_it_is_combined_in(world, combiner, lineages, tmp_path):
    found = published(world, combiner, asked(lineages), folder(tmp_path))
    flagged = world.write_now(lambda c: erase.note(c, "datanets/x/records/r9", "a wish", [lineages[1].revision]))
    assert flagged == [lineages[1].revision, found.name]


def test_a_name_is_its_owners(world, combiner, lineages, tmp_path, job):
    theirs = asked(lineages, adapter="one")
    made = combiner.make(theirs, folder(tmp_path))
    refused(lambda: world.write_now(lambda c: combine.announce(c, theirs, made.revision)), "ADAPTER_TAKEN")
    mine = replace(theirs, owner=job.owner)
    assert published(world, combiner, mine, folder(tmp_path, "mine")).adapter == "one"


def test_a_name_that_went_to_somebody_else_meanwhile_is_not_published_under(world, combiner, lineages, tmp_path):
    wish = asked(lineages)
    made = combiner.make(wish, folder(tmp_path))
    world.write_now(lambda c: combine.announce(c, wish, made.revision))
    faster = published(world, combiner, replace(wish, owner=address(8)), folder(tmp_path, "faster"))
    refused(lambda: world.write_now(lambda c: combine.name_it(c, wish, combiner.publish(made))), "ADAPTER_TAKEN")
    assert faster.adapter == "both"


def test_what_an_earlier_process_left_half_done_is_removed(combiner):
    (combiner.folder / "left").mkdir()
    combiner.open()
    assert list(combiner.folder.iterdir()) == []
