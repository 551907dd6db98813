"""The Factory's store on both databases."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

import services.factory
from services.factory import store, store_events, store_revisions, store_snapshots
from services.factory.licence import Attribution, Use
from services.factory.model import UNFINISHED, FineTune, Metrics, Registration, Revision, State, TrainingProgress
from services.factory.run import Replacement, SnapshotPin
from services.factory.spec import FineTuneSpec
from services.factory.tables import METADATA
from services.kit.database import Database

MIGRATIONS = Path(services.factory.__file__).parent / "migrations"
METRICS = Metrics(90, 10, {"TOO_LONG": 3}, 4, 2.5, 1.25, 12345, 6.5)
JOB = FineTune(
    id="one",
    owner="0x" + "0a" * 20,
    adapter="letters",
    spec=FineTuneSpec(base="tiny", seed=2**32 - 1, prompt_template="{Ünï} \U0001f600", learning_rate=1e-7),
    snapshots=(
        SnapshotPin("datanets/letters/snapshots/1", "aa" * 32),
        SnapshotPin("datanets/z/snapshots/2", "cc" * 32),
    ),
    base_sha256="bb" * 32,
    threads=2,
    create_time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    use=Use.NON_COMMERCIAL,
    licence="CC-BY-4.0 AND MIT",
    attributions=(Attribution("datanets/letters/snapshots/1", "CC-BY-4.0", "Ünï"),),
    clone_of="fineTunes/zero",
)
ONE, TWO = JOB.snapshots


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(MIGRATIONS)
    yield database
    database.close()


@pytest.fixture
def put(database):
    """Adds fine-tunes like JOB with other values."""

    def add(**values):
        job = replace(JOB, **values)
        database.write_now(lambda c: store.add_fine_tune(c, job, "waiting"))
        return job

    return add


def find(database, id_="one"):
    return database.read_now(lambda c: store.find(c, id_))


def move(database, id_, state, **values):
    return database.write_now(lambda c: store.move(c, id_, state, f"now {state}", **values))


def revision(name="adapters/letters/revisions/1", adapter="letters", fine_tune="one"):
    return Revision(name, adapter, fine_tune, b"{}", METRICS, JOB.create_time, "ca" * 32)


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    assert database.read_now(differences) == []


def test_migrating_again_changes_nothing(database, put):
    put()
    database.migrate(MIGRATIONS)
    assert find(database) == JOB


def test_a_fine_tune_comes_back_as_it_was_put(database, put):
    put()
    assert find(database) == JOB
    assert find(database, "another") is None
    end = {"manifest": b"\x00{}", "revision": "r", "metrics": METRICS, "output": "/o", "records": "cc" * 32}
    assert move(database, "one", State.SUCCEEDED, **end)
    done = find(database)
    assert replace(done, end_time=None) == replace(JOB, state=State.SUCCEEDED, **end)
    assert abs((datetime.now(UTC) - done.end_time).total_seconds()) < 60


def test_what_has_ended_is_never_moved_again(database, put):
    put()
    assert move(database, "one", State.CANCELLED)
    for state in State:
        assert not move(database, "one", state)
    assert find(database).state is State.CANCELLED
    assert [e.state for e in database.read_now(lambda c: store_events.events(c, "one", 0, 10))[1]] == [
        State.QUEUED,
        State.CANCELLED,
    ]


def test_events_are_numbered_without_gaps_and_read_from_any_place(database, put):
    put()
    put(id="two")
    move(database, "one", State.TRAINING)
    progress = TrainingProgress(3, 9, 0.1, 123.4, None)
    assert database.write_now(lambda c: store.note(c, "one", State.TRAINING, "training", progress)) == 3
    assert database.write_now(lambda c: store.note(c, "one", State.READING, "late", None)) == 0
    move(database, "one", State.FAILED, reason="NAN_LOSS", message="m")
    state, events = database.read_now(lambda c: store_events.events(c, "one", 0, 10))
    assert state is State.FAILED
    assert [e.sequence for e in events] == [1, 2, 3, 4]
    assert events[2].progress == progress
    assert events[3].progress is None
    assert events[0].time.tzinfo is not None
    assert database.read_now(lambda c: store_events.events(c, "one", 1, 2))[1] == events[1:3]
    assert database.read_now(lambda c: store_events.events(c, "one", 2**63 - 1, 2))[1] == []


async def test_writers_at_once_leave_no_gap_between_events(database, put):
    put(state=State.TRAINING)
    notes = (database.write(lambda c: store.note(c, "one", State.TRAINING, "x", None)) for _ in range(40))
    assert sorted(await asyncio.gather(*notes)) == list(range(2, 42))


async def test_of_two_ends_at_once_one_holds(database, put):
    put(state=State.TRAINING)
    ends = (State.SUCCEEDED, State.CANCELLED, State.FAILED)
    moved = await asyncio.gather(*(database.write(lambda c, s=s: store.move(c, "one", s, "end")) for s in ends))
    assert sum(moved) == 1
    assert find(database).state is ends[moved.index(True)]


def test_what_was_begun_comes_before_what_waits(database, put):
    for id_, state in (("a", "SUCCEEDED"), ("b", "QUEUED"), ("c", "QUEUED"), ("d", "TRAINING")):
        put(id=id_, state=State(state))
    order = []
    while (job := database.read_now(store.next_unfinished)) is not None:
        order.append(job.id)
        move(database, job.id, State.CANCELLED)
    assert order == ["d", "b", "c"]


def test_who_was_served_longest_ago_is_served_next(database, put):
    """One account's many do not keep another's few waiting, whoever came first."""
    many, few = JOB.owner, "0x" + "0b" * 20
    for id_, owner in (("m1", many), ("m2", many), ("m3", many), ("f1", few), ("f2", few)):
        put(id=id_, owner=owner)
    order = []
    while (job := database.read_now(store.next_unfinished)) is not None:
        order.append(job.id)
        for state in (State.READING, State.SUCCEEDED):
            move(database, job.id, state)
    assert order == ["m1", "f1", "m2", "f2", "m3"]


def test_an_accounts_fine_tunes_that_have_not_ended_are_counted(database, put):
    for state in State:
        put(id=state, state=state)
    put(id="other", owner="0x" + "0b" * 20)
    assert database.read_now(lambda c: store.queue_length(c, JOB.owner)) == len(UNFINISHED)
    assert database.read_now(lambda c: store.queue_length(c, "0x" + "0c" * 20)) == 0


def test_the_queue_is_as_long_as_what_has_not_ended(database, put):
    for state in State:
        put(id=state, state=state)
    assert database.read_now(store.queue_length) == len(UNFINISHED)


def test_pages_go_from_the_newest_to_the_oldest(database, put):
    for i in range(5):
        put(id=f"mine{i}")
    put(id="other", owner="0x" + "0b" * 20)
    first = database.read_now(lambda c: store.page(c, JOB.owner, None, 3))
    rest = database.read_now(lambda c: store.page(c, JOB.owner, first[-1][0], 3))
    assert [job.id for _, job in (*first, *rest)] == ["mine4", "mine3", "mine2", "mine1", "mine0"]


def test_deaths_are_counted(database, put):
    put()
    assert [database.write_now(lambda c: store.count_death(c, "one")) for _ in range(3)] == [1, 2, 3]
    assert find(database).attempts == 3


def test_the_time_that_it_trained_is_kept(database, put):
    put()
    database.write_now(lambda c: store.count_seconds(c, "one", 12.5))
    assert find(database).training_seconds == 12.5


def test_the_last_success_of_a_base_is_the_measure(database, put):
    slow, fast = replace(METRICS, seconds=9.0), replace(METRICS, seconds=1.0)
    put(id="a", state=State.SUCCEEDED, metrics=slow)
    put(id="b", state=State.SUCCEEDED, metrics=fast)
    put(id="c", state=State.FAILED)
    put(id="d", state=State.SUCCEEDED, metrics=slow, spec=replace(JOB.spec, base="big"))
    assert database.read_now(lambda c: store.last_run(c, "tiny")) == (JOB.spec, fast)
    assert database.read_now(lambda c: store.last_run(c, "none")) is None


async def test_an_adapter_belongs_to_who_was_first(database):
    owners = [f"0x{i:040x}" for i in range(8)]

    def claim(c, owner):
        holder = store.claim_adapter(c, "letters", owner)
        if holder == owner:
            store.add_fine_tune(c, replace(JOB, id=owner, owner=owner), "waiting")
        return holder

    held = set(await asyncio.gather(*(database.write(lambda c, o=o: claim(c, o)) for o in owners)))
    assert len(held) == 1
    assert held <= set(owners)


@pytest.mark.parametrize("state", tuple(State))
def test_an_adapter_is_somebodys_as_long_as_something_can_come_of_it(database, put, state):
    other = "0x" + "0b" * 20
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    put(state=state, output="/o")
    holder = database.write_now(lambda c: store.claim_adapter(c, "letters", other))
    assert holder == (other if state in (State.FAILED, State.CANCELLED) else JOB.owner)


def test_an_adapter_with_a_revision_is_its_owners_for_ever(database, put):
    put(state=State.SUCCEEDED)
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    database.write_now(lambda c: store_revisions.add_revision(c, revision()))
    assert database.write_now(lambda c: store.claim_adapter(c, "letters", "0x" + "0b" * 20)) == JOB.owner


def test_what_is_announced_is_flagged_and_found_by_nobody_before_it_is_published(database, put):
    put(state=State.SUCCEEDED)
    put_snapshot(database, TWO, "digest", "r1")
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    name, early = revision().name, replace(revision(), card="")
    for _ in range(2):
        database.write_now(lambda c: store_revisions.announce_revision(c, early))
    assert database.read_now(lambda c: store_revisions.find_revision(c, name)) is None
    assert database.read_now(lambda c: store_revisions.page_revisions(c, None, None, 9)) == []
    assert database.read_now(store_revisions.unregistered) == []
    assert not database.read_now(lambda c: store_revisions.is_owner(c, name, JOB.owner))
    assert database.read_now(lambda c: store_revisions.made_from(c, {TWO}, "r1")) == [name]
    database.write_now(lambda c: store_revisions.flag(c, name, "r1", "wish"))
    published = database.write_now(lambda c: store_revisions.add_revision(c, revision()))
    assert (published.card, [flag.record for flag in published.flags]) == (revision().card, ["r1"])
    database.write_now(lambda c: store_revisions.announce_revision(c, early))
    assert database.read_now(lambda c: store_revisions.find_revision(c, name)) == published


def test_outputs_are_told_by_when_they_came_and_forgotten(database, put):
    put(state=State.TRAINING)
    put(id="two", state=State.TRAINING, output="/two")
    move(database, "one", State.SUCCEEDED, output="/one", audit_output="/audit")
    now = datetime.now(UTC)
    earlier, later = now.replace(year=now.year - 1), now.replace(year=now.year + 1)
    both = [("one", "/one"), ("one", "/audit")]
    for when, found in (({"since": earlier}, both), ({"since": later}, []), ({"before": later}, both)):
        assert database.read_now(lambda c, w=when: store.outputs_of_ended(c, **w)) == found
    assert database.read_now(lambda c: store.outputs_of_ended(c, before=earlier)) == []
    database.write_now(lambda c: store.forget_outputs(c, ["one"]))
    assert (find(database).output, find(database).audit_output) == ("", "")


def test_revisions_are_known_while_they_are_or_can_be_published(database, put):
    for id_, output in (("published", ""), ("can", "/o"), ("cannot", "")):
        put(id=id_, state=State.SUCCEEDED, revision=f"adapters/letters/revisions/{id_}", output=output)
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    made = revision("adapters/letters/revisions/published", fine_tune="published")
    database.write_now(lambda c: store_revisions.add_revision(c, made))
    known = {name.rpartition("/")[2] for name in database.read_now(store.revisions)}
    assert known == {"published", "can"}


async def test_a_revision_is_named_once(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    later = replace(revision(), create_time=datetime(2027, 1, 1, tzinfo=UTC))
    assert database.write_now(lambda c: store_revisions.add_revision(c, revision())) == revision()
    again = await asyncio.gather(*(database.write(lambda c: store_revisions.add_revision(c, later)) for _ in range(4)))
    assert again == [revision()] * 4
    assert database.read_now(lambda c: store_revisions.find_revision(c, revision().name)) == revision()
    assert database.read_now(lambda c: store_revisions.find_revision(c, "adapters/letters/revisions/2")) is None


def test_revisions_of_one_adapter_or_of_all(database, put):
    put()
    for adapter in ("letters", "digits"):
        database.write_now(lambda c, a=adapter: store.claim_adapter(c, a, JOB.owner))
        made = revision(f"adapters/{adapter}/revisions/1", adapter)
        database.write_now(lambda c, m=made: store_revisions.add_revision(c, m))

    def names(adapter, before=None, limit=10):
        page = database.read_now(lambda c: store_revisions.page_revisions(c, adapter, before, limit))
        return [r.adapter for _, r in page]

    assert names(None) == ["digits", "letters"]
    assert names("letters") == ["letters"]
    newest = database.read_now(lambda c: store_revisions.page_revisions(c, None, None, 1))
    assert names(None, newest[0][0]) == ["letters"]


def put_snapshot(database, pin, digest, *records):
    database.write_now(lambda c: store_snapshots.put_snapshot(c, pin, digest, records))


def test_a_snapshots_records_are_known_by_name_and_root(database):
    for digest in ("first", "second"):
        put_snapshot(database, ONE, digest, "r1", "r2")
        assert database.read_now(lambda c: store_snapshots.find_snapshot(c, ONE)) == digest
    other_root = replace(ONE, root="another root")
    assert database.read_now(lambda c: store_snapshots.find_snapshot(c, other_root)) is None


async def test_two_who_read_a_snapshot_at_once_do_no_harm(database):
    records = [f"r{i}" for i in range(300)]
    await asyncio.gather(
        *(database.write(lambda c: store_snapshots.put_snapshot(c, ONE, "digest", records)) for _ in range(6))
    )
    assert database.read_now(lambda c: store_snapshots.snapshots_with(c, "r299")) == {ONE}


def test_an_erased_record_is_found_in_every_snapshot_that_held_it(database):
    put_snapshot(database, ONE, "first", "r1", "r2")
    put_snapshot(database, TWO, "second", "r2", "r3")
    assert database.read_now(lambda c: store_snapshots.erased_among(c, (ONE, TWO))) is None
    database.write_now(lambda c: store_snapshots.add_erased(c, "r2", "its author's wish"))
    database.write_now(lambda c: store_snapshots.add_erased(c, "r2", "again"))
    assert database.read_now(lambda c: store_snapshots.snapshots_with(c, "r2")) == {ONE, TWO}
    for pins in ((ONE,), (TWO,), (ONE, TWO)):
        assert database.read_now(lambda c, p=pins: store_snapshots.erased_among(c, p)) == "r2"
    assert database.read_now(lambda c: store_snapshots.erased_among(c, (replace(ONE, root="other"),))) is None


def test_what_is_forgotten_leaves_the_names_of_its_records(database):
    put_snapshot(database, ONE, "first", "r1")
    database.write_now(lambda c: store_snapshots.forget_snapshots(c, {ONE}))
    assert database.read_now(lambda c: store_snapshots.find_snapshot(c, ONE)) is None
    assert database.read_now(lambda c: store_snapshots.snapshots_with(c, "r1")) == {ONE}
    put_snapshot(database, ONE, "second", "r1")
    assert database.read_now(lambda c: store_snapshots.find_snapshot(c, ONE)) == "second"


def test_files_that_are_gone_are_forgotten(database):
    put_snapshot(database, ONE, "first", "r1")
    put_snapshot(database, TWO, "second", "r1")
    assert database.read_now(store_snapshots.files) == {"first", "second"}
    database.write_now(lambda c: store_snapshots.forget_files(c, ["first", "never"]))
    assert database.read_now(store_snapshots.files) == {"second"}
    assert database.read_now(lambda c: store_snapshots.snapshots_with(c, "r1")) == {ONE, TWO}


def test_checkpoints_are_kept_once_a_step_and_read_from_the_newest(database, put):
    put(state=State.TRAINING)
    for step, loss in ((3, 0.5), (6, 0.4), (6, 0.3)):
        progress = TrainingProgress(step, 9, 0.7, valid_loss=loss, valid_mean_token_accuracy=0.5, tokens=step * 2**40)
        database.write_now(lambda c, p=progress: store.note(c, "one", State.TRAINING, "x", p))
    first = database.read_now(lambda c: store_events.checkpoints(c, "one", None, 1))
    assert [(step, found.valid_loss) for step, found in first] == [(6, 0.3)]
    rest = database.read_now(lambda c: store_events.checkpoints(c, "one", 6, 9))
    assert [(found.step, found.train_loss, found.trained_tokens) for _, found in rest] == [(3, 0.7, 3 * 2**40)]
    assert find(database).trained_tokens == 6 * 2**40


def test_the_last_word_on_each_step_is_the_curve(database, put):
    put(state=State.TRAINING)
    for step, loss in ((1, 0.9), (2, 0.8), (1, 0.7), (3, None)):
        progress = TrainingProgress(step, 9, loss)
        database.write_now(lambda c, p=progress: store.note(c, "one", State.TRAINING, "x", p))
    told = database.read_now(lambda c: store_events.losses(c, "one"))
    assert [(progress.step, progress.loss) for progress in told] == [(1, 0.7), (2, 0.8)]


def test_events_are_read_from_the_newest_too(database, put):
    put(state=State.TRAINING)
    for word in "abc":
        database.write_now(lambda c, w=word: store.note(c, "one", State.TRAINING, w, None))
    page = database.read_now(lambda c: store_events.newest_events(c, "one", None, 2))
    rest = database.read_now(lambda c: store_events.newest_events(c, "one", page[-1][0], 9))
    assert [event.message for _, event in (*page, *rest)] == ["c", "b", "a", "waiting"]


def test_when_its_work_began_is_kept_from_the_first_time(database, put):
    put()
    assert find(database).start_time is None
    move(database, "one", State.READING)
    began = find(database).start_time
    assert abs((datetime.now(UTC) - began).total_seconds()) < 60
    move(database, "one", State.TRAINING)
    assert find(database).start_time == began


def test_a_revision_is_deprecated_once_and_only_by_its_owner(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    database.write_now(lambda c: store_revisions.add_revision(c, revision()))
    name = revision().name
    assert database.read_now(lambda c: store_revisions.is_owner(c, name, JOB.owner))
    assert not database.read_now(lambda c: store_revisions.is_owner(c, name, "0x" + "0b" * 20))
    for reason in ("better one", "second thoughts"):
        database.write_now(lambda c, r=reason: store_revisions.deprecate(c, name, r))
    found = database.read_now(lambda c: store_revisions.find_revision(c, name))
    assert found.deprecate_reason == "better one"
    assert abs((datetime.now(UTC) - found.deprecate_time).total_seconds()) < 60
    assert database.read_now(lambda c: store_revisions.page_revisions(c, None, None, 9, retired=False)) == []


async def test_a_revision_is_flagged_once_for_each_record(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    database.write_now(lambda c: store_revisions.add_revision(c, revision()))
    name = revision().name
    flags = [database.write(lambda c, r=r: store_revisions.flag(c, name, r, "wish")) for r in ("r1", "r2", "r1")]
    assert sorted(await asyncio.gather(*flags)) == [False, True, True]
    found = database.read_now(lambda c: store_revisions.find_revision(c, name))
    assert sorted(flag.record for flag in found.flags) == ["r1", "r2"]
    assert database.read_now(lambda c: store_revisions.made_from(c, {TWO}, "r1")) == [name]
    assert database.read_now(lambda c: store_revisions.made_from(c, {replace(TWO, root="x")}, "r1")) == []


def test_a_replacement_does_without_records_whose_erasure_is_not_its_matter(database, put):
    """It comes back as it was, with whom it is without in one order."""
    put()
    again = Replacement(revision().name, "ab" * 32, ("0x" + "77" * 20, "0x" + "11" * 20))
    mine = replace(JOB, id="again", adapter="letters", snapshots=(TWO,), replaces=again, revision="r/new", output="out")

    def fill(c):
        store_snapshots.put_snapshot(c, TWO, "00" * 32, ["r1", "r2", "r3"])
        store.add_fine_tune(c, mine, "waiting")
        store_snapshots.leave_out(c, "again", [TWO], {"r1", "elsewhere"})

    database.write_now(fill)
    assert database.read_now(lambda c: store.find(c, "again")) == mine
    assert database.read_now(lambda c: store.replacements(c, revision().name)) == [mine]
    assert database.read_now(lambda c: store.replacements(c, "adapters/letters/revisions/" + "9" * 64)) == []
    takes = [database.read_now(lambda c, r=r: store_snapshots.takes(c, "again", r)) for r in ("r1", "r2", "r3")]
    assert takes == [True, False, False]
    for record, found in (("r1", ["r/new"]), ("r2", [])):
        assert database.read_now(lambda c, r=record: store.revisions_of(c, {TWO}, r)) == found
    database.write_now(lambda c: store_snapshots.add_erased(c, "r3", "wish"))
    assert database.read_now(lambda c: store_snapshots.erased_among(c, [TWO])) == "r3"
    assert database.read_now(lambda c: store_snapshots.erased_among(c, [TWO], "again")) is None
    assert database.read_now(lambda c: store_snapshots.count_erased(c, [TWO])) == 1
    database.write_now(lambda c: store_snapshots.add_erased(c, "r1", "wish"))
    assert database.read_now(lambda c: store_snapshots.erased_among(c, [TWO], "again")) == "r1"


def test_the_first_revision_that_is_named_in_anothers_stead_stays(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    database.write_now(lambda c: store_revisions.add_revision(c, revision()))
    for stead in ("", "adapters/letters/revisions/new", "adapters/letters/revisions/newer"):
        database.write_now(lambda c, s=stead: store_revisions.deprecate(c, revision().name, "a wish", s))
    found = database.read_now(lambda c: store_revisions.find_revision(c, revision().name))
    assert found.replaced_by == "adapters/letters/revisions/new"


def test_a_combination_is_of_no_fine_tune_and_is_found_by_what_it_combines(database, put):
    put()
    one, two, three = (f"adapters/letters/revisions/{number}" for number in (1, 2, 3))
    both = Revision("adapters/both/revisions/1", "both", None, b"{}", None, JOB.create_time, "ca" * 32)
    hidden = replace(both, name="adapters/both/revisions/2")

    def fill(c):
        for adapter in ("letters", "both"):
            store.claim_adapter(c, adapter, JOB.owner)
        for name in (one, two, three):
            store_revisions.add_revision(c, revision(name))
        store_revisions.add_revision(c, both)
        store_revisions.announce_revision(c, hidden)
        for made, parents in ((both, (one, two)), (hidden, (two, three)), (both, (two, one))):
            store_revisions.put_parents(c, made.name, parents)

    database.write_now(fill)
    assert database.read_now(lambda c: store_revisions.find_revision(c, both.name)) == both
    assert database.read_now(store_revisions.unregistered) == [one, two, three, both.name]
    for parents, found in (
        ((one,), [both.name]),
        ((two,), [both.name, hidden.name]),
        ((one, two, three), [both.name, hidden.name]),
        ((), []),
        ((both.name,), []),
    ):
        assert database.read_now(lambda c, p=parents: store_revisions.combined_from(c, p)) == found
    assert database.read_now(lambda c: store_revisions.made_from(c, {ONE}, "r1")) == [one, two, three]


# --- from one version of the tables to the next -----------------------------------------------------------------------


def test_what_was_there_before_runs_had_several_snapshots_is_kept(database_url):
    database = Database(database_url)
    _upgrade(database, "0001")
    database.write_now(lambda c: c.execute(text(_OLD_FINE_TUNE)))
    database.write_now(lambda c: c.execute(text("INSERT INTO snapshot VALUES ('s', 'root', 'digest')")))
    database.migrate(MIGRATIONS)
    found = find(database, "old")
    assert found.snapshots == (SnapshotPin("datanets/letters/snapshots/1", "aa"),)
    assert (found.use, found.licence, found.attributions, found.clone_of) == (Use.COMMERCIAL, "", (), "")
    assert (found.trained_tokens, found.start_time, found.state) == (0, None, State.QUEUED)
    assert database.read_now(lambda c: store_snapshots.find_snapshot(c, SnapshotPin("s", "root"))) is None
    database.close()


def test_revisions_of_before_there_were_combinations_keep_their_flags(database_url):
    database = Database(database_url)
    _upgrade(database, "0007")
    flag = "INSERT INTO revision_flag VALUES ('adapters/letters/revisions/1', 'r1', 'wish', '2026-01-02 03:04:05')"

    def fill(c):
        store.claim_adapter(c, "letters", JOB.owner)
        store.add_fine_tune(c, JOB, "waiting")
        c.execute(text(_OLD_REVISION))
        c.execute(text(flag))

    database.write_now(fill)
    database.migrate(MIGRATIONS)
    found = database.read_now(lambda c: store_revisions.find_revision(c, revision().name))
    assert (found.fine_tune, found.metrics, found.card) == ("one", METRICS, "ca" * 32)
    assert [(each.record, each.reason) for each in found.flags] == [("r1", "wish")]
    added = replace(revision("adapters/letters/revisions/2"), fine_tune=None, metrics=None)
    assert database.write_now(lambda c: store_revisions.add_revision(c, added)) == added
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: c.execute(text(flag.replace("revisions/1", "revisions/9"))))
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: c.execute(text(_OLD_REVISION)))
    database.close()


_OLD_REVISION = f"""
INSERT INTO revision (name, adapter, fine_tune, manifest, metrics, create_time, deprecate_reason, card, replaced_by,
                      published)
VALUES ('adapters/letters/revisions/1', 'letters', 'one', '{{}}', '{json.dumps(METRICS.to_json())}',
        '2026-01-02 03:04:05', '', '{"ca" * 32}', '', true)
"""


_OLD_FINE_TUNE = """
INSERT INTO fine_tune (id, owner, adapter, base, spec, snapshot, snapshot_root, base_sha256, threads, state, reason,
                       message, attempts, records, output, manifest, revision, events, create_time)
VALUES ('old', '0x0a', 'letters', 'tiny', '{}', 'datanets/letters/snapshots/1', 'aa', 'bb', 1, 'QUEUED', '',
        '', 0, '', '', '', '', 0, '2026-01-02 03:04:05')
"""


def _upgrade(database, revision):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def upgrade(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database.write_now(upgrade)


def test_a_revision_is_registered_and_keeps_where_it_stands(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, JOB.adapter, JOB.owner))
    names = [f"adapters/letters/revisions/{i}" for i in range(3)]
    for name in names:
        database.write_now(lambda c, n=name: store_revisions.add_revision(c, revision(n)))
    assert database.read_now(store_revisions.unregistered) == names
    at = Registration(2**63 - 1, "0xc0", "0x01", 7)
    database.write_now(lambda c: store_revisions.register(c, names[1], at))
    assert database.read_now(store_revisions.unregistered) == [names[0], names[2]]
    assert database.read_now(lambda c: store_revisions.find_revision(c, names[1])).registration == at
