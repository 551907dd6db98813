from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from safetensors.numpy import save_file

from openledger import canonical
from openledger.artifacts import ArtifactStore
from services.factory import erase, store, store_events, store_revisions, store_snapshots
from services.factory.lineage import PRIVATE_EVALUATION, TRUNK
from services.factory.lines import line
from services.factory.model import UNFINISHED, Metrics, Revision, State
from services.factory.run import Replacement, SnapshotPin
from services.factory.write import TRAINING
from services.kit.private_files import PrivateFiles

RECORD, OTHER = "datanets/letters/records/r1", "datanets/letters/records/r11"
HOLDS, LACKS = (
    SnapshotPin("datanets/letters/snapshots/1", "aa" * 32),
    SnapshotPin("datanets/letters/snapshots/2", "bb" * 32),
)
METRICS = Metrics(1, 0, {}, 1, 0.0, 0.0, 10, 1.0)


@pytest.fixture
def world(database, job):
    """Two snapshots, of which one holds the record; a fine-tune in every state and a revision on each."""

    def fill(c):
        store.claim_adapter(c, job.adapter, job.owner)
        for pin, records in ((HOLDS, [RECORD, OTHER]), (LACKS, [OTHER])):
            store_snapshots.put_snapshot(c, pin, "00" * 32, records)
            for state in State:
                id_ = f"{pin.root[:2]}-{state}"
                store.add_fine_tune(c, replace(job, id=id_, snapshots=(pin,), state=state, records="cc" * 32), "made")
            revision = Revision(f"adapters/letters/revisions/{pin.root}", job.adapter, f"{pin.root[:2]}-SUCCEEDED",
                                b"{}", METRICS, datetime.now(UTC))  # fmt: skip
            store_revisions.add_revision(c, revision)

    database.write_now(fill)
    return database


def test_revisions_made_from_it_are_flagged_and_others_are_not(world):
    flagged_now = world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    assert flagged_now == [f"adapters/letters/revisions/{HOLDS.root}"]
    flagged = world.read_now(lambda c: store_revisions.find_revision(c, flagged_now[0]))
    assert [(flag.record, flag.reason) for flag in flagged.flags] == [(RECORD, "its author's wish")]
    offered = world.read_now(lambda c: store_revisions.page_revisions(c, None, None, 9, retired=False))
    assert [revision.name for _, revision in offered] == [f"adapters/letters/revisions/{LACKS.root}"]
    assert len(world.read_now(lambda c: store_revisions.page_revisions(c, None, None, 9))) == 2


def test_fine_tunes_on_it_that_have_not_ended_are_failed(world):
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    for state in State:
        hit, spared = (world.read_now(lambda c, i=f"{root}-{state}": store.find(c, i)) for root in ("aa", "bb"))
        assert spared.state is state
        if state in UNFINISHED:
            assert (hit.state, hit.reason) == (State.FAILED, "RECORD_ERASED")
            assert world.read_now(lambda c, j=hit: store_events.events(c, j.id, 1, 9))[1][-1].state is State.FAILED
        else:
            assert hit.state is state


async def test_a_replacement_that_does_without_it_is_spared(world, job, tmp_path):
    names = {digit: f"adapters/letters/revisions/{digit * 64}" for digit in "56"}
    again = Replacement(names["5"], "ab" * 32, (job.owner,))

    def fill(c):
        for id_, state, digit in (("trains", State.TRAINING, ""), ("made", State.SUCCEEDED, "6")):
            revision = names.get(digit, "")
            mine = replace(job, id=id_, snapshots=(HOLDS,), state=state, replaces=again, revision=revision)
            store.add_fine_tune(c, mine, "made")
            store_snapshots.leave_out(c, id_, [HOLDS], {OTHER})
        made = Revision(names["6"], job.adapter, "made", b"{}", METRICS, datetime.now(UTC))
        store_revisions.add_revision(c, made)

    world.write_now(fill)
    private, source = PrivateFiles(tmp_path / "private"), tmp_path / "source"
    source.write_bytes(b"texts")
    private.put("6" * 64, "span_index.safetensors", source)
    kept, workers = ArtifactStore(tmp_path / "records"), tmp_path / "executor"

    assert names["6"] not in world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    await erase.purge(world, kept, private, workers, RECORD)
    assert world.read_now(lambda c: store.find(c, "trains")).state is State.TRAINING
    assert private.revisions() == ["6" * 64]

    assert names["6"] in world.write_now(lambda c: erase.note(c, OTHER, "its author's wish"))
    await erase.purge(world, kept, private, workers, OTHER)
    assert world.read_now(lambda c: store.find(c, "trains")).state is State.FAILED
    assert private.revisions() == []


def test_telling_it_again_changes_nothing_more(world):
    first = world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    again = world.write_now(lambda c: erase.note(c, RECORD, "another reason"))
    assert again == first
    flagged = world.read_now(lambda c: store_revisions.find_revision(c, first[0]))
    assert [flag.reason for flag in flagged.flags] == ["its author's wish"]


def test_a_record_that_was_never_read_flags_what_is_named(world):
    named = f"adapters/letters/revisions/{LACKS.root}"
    flagged_now = world.write_now(lambda c: erase.note(c, "datanets/letters/records/unseen", "a wish", [named]))
    assert flagged_now == [named]


async def test_its_texts_are_removed_and_nobody_elses(world, tmp_path):
    kept, outputs = ArtifactStore(tmp_path / "records"), {pin: tmp_path / pin.root for pin in (HOLDS, LACKS)}
    for pin, output in outputs.items():
        output.mkdir()
        for name in ("evaluation.json", "evaluation_private.json"):
            (output / name).write_text("{}")
        ended = f"{pin.root[:2]}-TRAINING"
        world.write_now(lambda c, e=ended, o=output: store.move(c, e, State.SUCCEEDED, "done", output=str(o)))
    who = "0x" + "0a" * 20
    mine = kept.put(line("x", who, {"t": "a"}) + line(RECORD, who, {"t": "secret"}))
    others = kept.put(line(OTHER, who, {"t": f'mentions "record":"{RECORD}"'}))
    nothing, workers = kept.put(b""), tmp_path / "executor"
    for name, record in (("1" * 64, RECORD), (f".{'2' * 64}/output", RECORD), ("3" * 64, OTHER)):
        (workers / name).mkdir(parents=True)
        save_file({record: np.zeros((2, 3), np.float32)}, workers / name / TRUNK)
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    for _ in range(2):
        await erase.purge(world, kept, PrivateFiles(tmp_path / "private"), workers, RECORD)
    assert [kept.has(digest) for digest in (mine, others, nothing)] == [False, True, True]
    assert sorted(file.name for file in outputs[HOLDS].iterdir()) == ["evaluation.json"]
    assert len(list(outputs[LACKS].iterdir())) == 2
    assert [file.parent.name for file in workers.rglob(TRUNK)] == ["3" * 64], "activations tell of the text"


async def test_no_text_stays_of_a_run_whose_fine_tune_came_to_nothing(world, tmp_path):
    kept, workers = ArtifactStore(tmp_path / "records"), tmp_path / "executor"
    for name, record in (("1" * 64, RECORD), (f".{'2' * 64}/output", RECORD), ("3" * 64, OTHER)):
        (workers / name).mkdir(parents=True)
        (workers / name / TRAINING).write_bytes(canonical.dumps({"held_out": [[record, "0x" + "0a" * 20]]}))
        (workers / name / PRIVATE_EVALUATION).write_text("{}")
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    for _ in range(2):
        await erase.purge(world, kept, PrivateFiles(tmp_path / "private"), workers, RECORD)
    assert [file.parent.name for file in workers.rglob(PRIVATE_EVALUATION)] == ["3" * 64]


async def test_private_files_of_what_was_made_from_it_are_removed_published_or_not(world, job, tmp_path):
    private, source = PrivateFiles(tmp_path / "private"), tmp_path / "source"
    source.write_bytes(b"texts")
    unpublished, elsewhere = "11" * 32, "22" * 32
    for digest, pin in ((unpublished, HOLDS), (elsewhere, LACKS)):
        made = replace(job, id=digest, snapshots=(pin,), revision=f"adapters/letters/revisions/{digest}")
        world.write_now(lambda c, m=made: store.add_fine_tune(c, m, "made"))
    for digest in (HOLDS.root, LACKS.root, unpublished, elsewhere):
        private.put(digest, "span_index.safetensors", source)
    kept, workers = ArtifactStore(tmp_path / "records"), tmp_path / "executor"
    # The fixture's fine-tunes do not name their revisions: those are found by their flags.
    world.write_now(lambda c: erase.note(c, RECORD, "its author's wish"))
    for _ in range(2):
        await erase.purge(world, kept, private, workers, RECORD)
    assert private.revisions() == sorted((LACKS.root, elsewhere))
