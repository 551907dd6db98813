from __future__ import annotations

from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from services.factory import read
from services.factory.lines import parse
from services.factory.model import JobFailed
from services.factory.run import SnapshotPin
from services.factory.source import SourceUnavailable
from services.kit.errors import not_found
from tests.factory_world import SNAPSHOT, ListSource, address, root_of, snapshot_records


@pytest.fixture
def made():
    return snapshot_records(9, 2)


@pytest.fixture
def kept(tmp_path):
    return ArtifactStore(tmp_path / "records")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(read, "_PAUSE_FIRST", 0.001)


async def reading(source, root, kept, patience=5.0, only=None):
    return (await read.read_snapshot(source, SnapshotPin(SNAPSHOT, root), kept, patience, only)).digest


async def failure(source, root, kept, patience=5.0, only=None):
    with pytest.raises(JobFailed) as error:
        await reading(source, root, kept, patience, only)
    assert not list(kept.root.iterdir()), "nothing of what was refused is kept"
    return error.value


async def test_records_that_add_up_to_the_root_are_kept_in_order(made, kept):
    digest = await reading(ListSource(made), root_of(made), kept)
    records = parse(kept.get(digest))
    assert [r.name for r in records] == [r.name for r in made]
    assert [r.contributor for r in records] == [r.contributor for r in made]
    assert records[3].fields == made[3].fields


async def test_salts_are_not_kept(made, kept):
    data = kept.get(await reading(ListSource(made), root_of(made), kept))
    assert not any(r.salt in data or r.salt.hex().encode() in data for r in made)


async def test_a_stream_that_breaks_goes_on_and_gives_the_same_file(made, kept):
    whole = await reading(ListSource(made), root_of(made), kept)
    broken = ListSource(made, breaks=[0, 4, 4, 8])
    assert await reading(broken, root_of(made), kept) == whole
    assert broken.starts == [0, 0, 4, 4, 8]


@pytest.mark.parametrize(
    "change",
    (
        {"contributor": address(7)},
        {"fields": {"question": "letter 4?", "answer": "another"}},
        {"source": "elsewhere"},
        {"salt": bytes(32)},
        {"salt": b"short"},
        {"leaf": 5},
        {"contributor": "nobody"},
        {"fields": {"question": "\ud800", "answer": "half a character"}},
    ),
)
async def test_one_changed_record_is_found(made, kept, change):
    root = root_of(made)
    made[4] = replace(made[4], **change)
    assert (await failure(source_of(made), root, kept)).reason == "ROOT_MISMATCH"


async def test_an_erased_record_is_named(made, kept):
    root = root_of(made)
    made[4] = replace(made[4], salt=b"", fields={})
    failed = await failure(source_of(made), root, kept)
    assert failed.reason == "RECORD_ERASED"
    assert made[4].name in failed.message


async def test_names_of_the_records_are_told(made, kept):
    done = await read.read_snapshot(ListSource(made), SnapshotPin(SNAPSHOT, root_of(made)), kept, 5.0)
    assert done.names == tuple(record.name for record in made)


def source_of(made):
    """A source of records that may not be committed to at all."""
    source = ListSource([])
    source.made = made
    return source


@pytest.mark.parametrize("keep", (slice(0, 8), slice(0, 0)))
async def test_missing_records_are_found(made, kept, keep):
    assert (await failure(ListSource(made[keep]), root_of(made), kept)).reason == "ROOT_MISMATCH"


async def test_records_in_another_order_are_found(made, kept):
    root = root_of(made)
    made[2], made[3] = replace(made[3], leaf=2), replace(made[2], leaf=3)
    assert (await failure(ListSource(made), root, kept)).reason == "ROOT_MISMATCH"


async def test_a_source_that_stays_away_is_given_up_after_a_while(made, kept):
    source = ListSource(made)
    source.trouble = SourceUnavailable("nobody answers")
    assert (await failure(source, root_of(made), kept, 0.05)).reason == "DATANET_UNAVAILABLE"
    assert len(source.starts) > 1, "it was tried again"


async def test_a_refusal_is_final(made, kept):
    source = ListSource(made)
    source.trouble = not_found("SNAPSHOT_NOT_FOUND", "there is none")
    assert (await failure(source, root_of(made), kept)).reason == "SNAPSHOT_NOT_FOUND"
    assert source.starts == [0]


async def test_of_records_that_are_not_taken_the_commitment_is_enough(made, kept):
    root, only = root_of(made), {record.name for record in made[::2]}
    whole = await reading(ListSource(made), root, kept, only=only)
    assert [record.name for record in parse(kept.get(whole))] == [record.name for record in made[::2]]
    erased = [r if r.name in only else replace(r, fields={}, source="", salt=b"") for r in made]
    assert await reading(source_of(erased), root, kept, only=only) == whole, "erased or not, it is the same file"


@pytest.mark.parametrize(
    ("change", "reason"),
    (
        ({"commitment": b"\x01" * 32}, "ROOT_MISMATCH"),
        ({"commitment": b""}, "RECORD_ERASED"),
        ({"commitment": b"short"}, "RECORD_ERASED"),
    ),
)
async def test_a_tombstone_must_be_the_leaf_that_was_frozen(made, kept, change, reason):
    root, only = root_of(made), {record.name for record in made[1:]}
    made[0] = replace(made[0], fields={}, salt=b"", **change)
    assert (await failure(source_of(made), root, kept, only=only)).reason == reason


async def test_a_tombstone_of_a_record_that_is_taken_is_refused(made, kept):
    root, only = root_of(made), {record.name for record in made}
    made[3] = replace(made[3], fields={}, salt=b"")
    assert (await failure(source_of(made), root, kept, only=only)).reason == "RECORD_ERASED"
