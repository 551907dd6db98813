"""The Factory's store on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import services.factory
from services.factory import store
from services.factory.model import UNFINISHED, FineTune, Metrics, Revision, State, TrainingProgress
from services.factory.spec import FineTuneSpec
from services.kit.database import Database

MIGRATIONS = Path(services.factory.__file__).parent / "migrations"
METRICS = Metrics(90, 10, {"TOO_LONG": 3}, 4, 2.5, 1.25, 12345, 6.5)
JOB = FineTune(
    id="one",
    owner="0x" + "0a" * 20,
    adapter="letters",
    spec=FineTuneSpec(base="tiny", seed=2**32 - 1, prompt_template="{Ünï} \U0001f600", learning_rate=1e-7),
    snapshot="datanets/letters/snapshots/1",
    snapshot_root="aa" * 32,
    base_sha256="bb" * 32,
    threads=2,
    create_time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
)


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
    return Revision(name, adapter, fine_tune, b"{}", METRICS, JOB.create_time)


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), store.METADATA)

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
    assert [e.state for e in database.read_now(lambda c: store.events(c, "one", 0, 10))[1]] == [
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
    state, events = database.read_now(lambda c: store.events(c, "one", 0, 10))
    assert state is State.FAILED
    assert [e.sequence for e in events] == [1, 2, 3, 4]
    assert events[2].progress == progress
    assert events[3].progress is None
    assert events[0].time.tzinfo is not None
    assert database.read_now(lambda c: store.events(c, "one", 1, 2))[1] == events[1:3]
    assert database.read_now(lambda c: store.events(c, "one", 2**63 - 1, 2))[1] == []


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


def test_the_last_success_of_a_base_is_the_measure(database, put):
    slow, fast = replace(METRICS, seconds=9.0), replace(METRICS, seconds=1.0)
    put(id="a", state=State.SUCCEEDED, metrics=slow)
    put(id="b", state=State.SUCCEEDED, metrics=fast)
    put(id="c", state=State.FAILED)
    put(id="d", state=State.SUCCEEDED, metrics=slow, spec=replace(JOB.spec, base="big"))
    assert database.read_now(lambda c: store.last_metrics(c, "tiny")) == fast
    assert database.read_now(lambda c: store.last_metrics(c, "none")) is None


async def test_an_adapter_belongs_to_who_was_first(database):
    owners = [f"0x{i:040x}" for i in range(8)]
    claims = [database.write(lambda c, o=o: store.claim_adapter(c, "letters", o)) for o in owners]
    held = set(await asyncio.gather(*claims))
    assert len(held) == 1
    assert held <= set(owners)


async def test_a_revision_is_named_once(database, put):
    put()
    database.write_now(lambda c: store.claim_adapter(c, "letters", JOB.owner))
    later = replace(revision(), create_time=datetime(2027, 1, 1, tzinfo=UTC))
    assert database.write_now(lambda c: store.add_revision(c, revision())) == revision()
    again = await asyncio.gather(*(database.write(lambda c: store.add_revision(c, later)) for _ in range(4)))
    assert again == [revision()] * 4
    assert database.read_now(lambda c: store.find_revision(c, revision().name)) == revision()
    assert database.read_now(lambda c: store.find_revision(c, "adapters/letters/revisions/2")) is None


def test_revisions_of_one_adapter_or_of_all(database, put):
    put()
    for adapter in ("letters", "digits"):
        database.write_now(lambda c, a=adapter: store.claim_adapter(c, a, JOB.owner))
        made = revision(f"adapters/{adapter}/revisions/1", adapter)
        database.write_now(lambda c, m=made: store.add_revision(c, m))

    def names(adapter, before=None, limit=10):
        page = database.read_now(lambda c: store.page_revisions(c, adapter, before, limit))
        return [r.adapter for _, r in page]

    assert names(None) == ["digits", "letters"]
    assert names("letters") == ["letters"]
    newest = database.read_now(lambda c: store.page_revisions(c, None, None, 1))
    assert names(None, newest[0][0]) == ["letters"]


def test_a_snapshots_records_are_known_by_name_and_root(database):
    for digest in ("first", "second"):
        database.write_now(lambda c, d=digest: store.add_snapshot_records(c, "s", "root", d))
        assert database.read_now(lambda c: store.snapshot_records(c, "s", "root")) == digest
    assert database.read_now(lambda c: store.snapshot_records(c, "s", "another root")) is None
