"""Records are credited to whom texts can credit them, in the order of the run, or of the one that it replaces."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from openledger.manifest import Replaces, Snapshot
from services.factory.as_planned import miscredited, replaced, taken_again
from services.factory.claims import planned
from services.factory.data import Record
from services.factory.exported import ExportSource
from services.factory.replay import Replay
from services.factory.retrainings import Retrainings
from services.factory.verdict import Verdict
from services.kit.executor import Done, TaskFailed
from tests import trained_world
from tests.made_up_revision import PEOPLE, SPEC, output, revision

BARE = replace(SPEC, halves=0, leave_one_out=False)
TEXT = {"prompt": "a", "completion": "b"}
RECORDS = [Record(f"records/{who}-{n}", PEOPLE[who], TEXT) for who in range(4) for n in range(3)]


class Machine:
    """An executor whose trainings give what was published, and plan what they are told."""

    def __init__(self, folder, plan):
        self.folder, self.plan, self.ran, self.bases = folder, plan, [], set()

    async def find(self, _):
        return None

    async def run(self, shard, _report):
        self.ran.append(shard.task.partition(":")[2])
        self.bases.add(shard.arguments.get("base"))
        if isinstance(self.plan, Exception) and shard.task.endswith(":plan"):
            raise self.plan
        return Done(output(self.folder / "out"), {"plan": self.plan, "loss": 2.0})


def made_up(folder, **more):
    root = trained_world.export(folder / "export", RECORDS)
    return revision(folder / "artifacts", BARE, snapshots=(Snapshot(trained_world.SNAPSHOT, root),), **more)


@pytest.fixture
def made(tmp_path):
    return made_up(tmp_path)


def verdict_of(made, folder, plan=None, export="export", draw=4):
    machine = Machine(folder, plan or planned(made.files["training.json"]))
    found = Verdict(made.lineage, bytes(32), 95)
    source, kept = ExportSource([folder / export]), ArtifactStore(folder / "records")
    asyncio.run(Retrainings(made.claims, source, kept, machine, lambda _: None, "here").make(found, draw))
    return found, machine


def test_a_run_as_planned_is_taken_again(made, tmp_path):
    found, machine = verdict_of(made, tmp_path)
    assert (found.wrong, found.whole, found.exact, machine.ran) == ([], True, True, ["plan", "trunk", "again"])
    assert machine.bases == {"here"}, "every one of them takes the base model that is named here"


@pytest.mark.parametrize(("draw", "unfollowed"), ((0, 3), (1, 2), (3, 0)))
def test_of_whom_no_row_was_looked_at_is_said(tmp_path, draw, unfollowed):
    """One training follows one contributor, and the others are drawn from."""
    made = made_up(tmp_path)
    made.spec = replace(BARE, contributors_at_once=1)
    found, _ = verdict_of(made, tmp_path, draw=draw)
    assert (found.unfollowed, found.of) == (unfollowed, 3)
    assert any("None of 3 other trainings" in words for words in found.words()) == (draw == 0)
    assert any(f"By what {unfollowed} of 4 contributors" in words for words in found.words()) == bool(unfollowed)


def test_another_plan_is_wrong_and_nothing_is_trained(made, tmp_path):
    found, machine = verdict_of(made, tmp_path, "0" * 64)
    assert "in another order" in found.wrong[0]
    assert machine.ran == ["plan"]


def test_another_plan_by_other_code_is_not_known_to_be_wrong(made, tmp_path):
    """How texts are compared, and how long they are in tokens, changes with versions."""
    made.more["code"] = "openledger 0.0.1, sources 0123"
    found, machine = verdict_of(made, tmp_path, "0" * 64)
    assert (found.wrong, found.whole) == ([], False)
    assert "openledger 0.0.1" in found.unknown[0]
    assert machine.ran == ["plan", "trunk", "again"], "the run itself is looked at"


def test_what_other_code_cannot_take_again_is_not_known_to_be_wrong(made, tmp_path):
    failure = TaskFailed("RecordsMissing", "records/0-0 is too long")
    assert "too long" in verdict_of(made, tmp_path, failure)[0].wrong[0]
    made.more["code"] = "other"
    found, _ = verdict_of(made, tmp_path, failure)
    assert (found.wrong, found.whole) == ([], False)


def test_an_erased_record_that_was_never_trained_on_accuses_nobody(made, tmp_path):
    """It may have been too long to train on, and yet the first of what another one repeats."""
    trained = {record for record, _ in Replay.of(made.files["training.json"], ()).training}
    never = next(record.name for record in RECORDS if record.name not in trained and record.name.endswith("3-2"))
    trained_world.export(tmp_path / "less", RECORDS, erased={never})
    found, machine = verdict_of(made, tmp_path, "0" * 64, "less")
    assert (found.wrong, found.absent, found.whole) == ([], [], False)
    assert "nobody can tell" in found.unknown[0]
    assert machine.ran == ["trunk", "again"]


def rows(made, folder):
    return list(ExportSource([folder / "export"]).rows(trained_world.SNAPSHOT))


def credited(made, record, who):
    document = json.loads(made.files["training.json"])
    for one in (*document["records"], *document["held_out"]):
        if one[0] == record:
            one[1] = who
    made.trains(records=document["records"], held_out=document["held_out"])


@pytest.mark.parametrize(
    ("record", "who", "said"),
    (
        ("records/2-0", PEOPLE[1], ""),  # an earlier record's may be
        ("records/2-0", PEOPLE[2], ""),
        ("records/1-0", PEOPLE[2], "of whom it has no record until then"),
        ("records/0-2", PEOPLE[3], "of whom it has no record until then"),
        ("records/1-0", "0x" + "f" * 40, "of whom it has no record until then"),
        ("records/1-0", "", "nobody's"),
    ),
)
def test_a_record_is_its_own_contributors_or_an_earlier_ones(made, tmp_path, record, who, said):
    credited(made, record, who)
    found = list(miscredited(made.claims, rows(made, tmp_path)))
    assert (said in found[0]) if said else found == []


def test_records_of_no_snapshot_are_found(made, tmp_path):
    document = json.loads(made.files["training.json"])
    document["records"][0][0] = "records/made-up"
    made.trains(records=document["records"])
    assert "in none of its snapshots: records/made-up" in next(miscredited(made.claims, rows(made, tmp_path)))
    document["records"][0][1] = ""
    made.trains(records=document["records"])
    assert "nobody's" in next(miscredited(made.claims, rows(made, tmp_path)))


def replacing(before, **changes):
    """A revision that leaves the last contributor out of another, as a Factory makes it."""
    gone = PEOPLE[-1]
    left = Replay.of(before.files["training.json"], [gone])
    later = replace(before, files=dict(before.files), more=dict(before.more))
    document = {
        "records": left.training,
        "held_out": left.held_out,
        "batches": left.plan.batches,
        "sizes": left.plan.sizes,
        "kept_step": left.steps,
    }
    later.trains(**json.loads(json.dumps(document | changes)))
    later.more["contributors"] = dict.fromkeys(PEOPLE[:-1], 2)
    later.more["replaces"] = Replaces(f"adapters/words/revisions/{before.put()}", (gone,))
    return later


def test_a_replacement_is_the_one_before_without_somebody_and_that_one_is_planned(made, tmp_path):
    later = replacing(made)
    assert list(replaced(taken_again(later.claims))) == []
    found, machine = verdict_of(later, tmp_path, planned(made.files["training.json"]))
    assert (found.documents, machine.ran[0]) == ([], "plan")


def test_a_replacement_of_what_was_never_trained_so_is_wrong(made, tmp_path):
    """The plan of the replaced run is its own documents'; its records and snapshots give another."""
    later = replacing(made)
    assert "in another order" in verdict_of(later, tmp_path, "0" * 64)[0].wrong[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"kept_step": 7}, "ends after step 7"),
        ({"batches": [[0]] * 8}, "in another order"),
        ({"sizes": [9] * 8}, "order"),
    ),
)
def test_a_replacement_that_takes_other_steps_is_wrong(made, tmp_path, changes, said):
    later = replacing(made, **changes)
    assert any(said in words for words in replaced(taken_again(later.claims)))
    assert verdict_of(later, tmp_path)[0].wrong


def test_a_replacement_of_another_specification_or_of_one_that_ended_early_is_wrong(made):
    later = replacing(made)
    later.spec = replace(BARE, seed=9)
    assert "another base or specification" in next(replaced(taken_again(later.claims)))
    made.trains(kept_step=2)
    made.more["metrics"] = {"steps": 2}
    assert "ends after step 2; by specification" in next(replaced(taken_again(replacing(made).claims)))


def test_a_replaced_revision_that_is_withheld_is_wrong_also_where_texts_are_missing(made, tmp_path):
    later = replacing(made)
    made.store.path(made.put()).unlink()
    assert "the revision that it replaces cannot be read" in verdict_of(later, tmp_path)[0].wrong[0]
    trained_world.export(tmp_path / "less", RECORDS, erased={"records/0-0"})
    assert "cannot be read" in verdict_of(later, tmp_path, export="less")[0].wrong[0]


def test_a_replacement_whose_texts_are_erased_is_not_known_to_be_as_planned(made, tmp_path):
    later = replacing(made)
    erased = {record.name for record in RECORDS if record.contributor == PEOPLE[-1]}
    trained_world.export(tmp_path / "less", RECORDS, erased=erased)
    found, _ = verdict_of(later, tmp_path, export="less")
    assert (found.documents, found.absent, found.whole) == ([], [], False)
