"""Erasures in the Datanet's store, the same on SQLite and PostgreSQL; and keys of before there were shares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event, func, insert, select, update

from openledger import records, signing
from openledger.snapshots.documents import Manifest
from services.datanet import (
    publish,
    store,
    store_erasures,
    store_log,
    store_records,
    store_snapshots,
    store_use,
    wrap_again,
)
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.model import Datanet, Definition, Field, Record, RecordState, Snapshot
from services.datanet.shares import Shares
from services.datanet.tables import CONTENT, ERASURE, FIRST, KEY, METADATA, USE
from services.datanet.upload import Limits, Room, Upload
from services.datanet.vault import Vault, place
from services.kit.database import Database
from tests import postgres
from tests.old_vault import before_shares

ADA, BOB = "0x" + "a" * 40, "0x" + "b" * 40
TERMS = Datanet("terms", BOB, Definition("Terms", "MIT", fields=(Field("text"),)), 0, 0, 1, 1000, 1000)
REQUEST = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, erases=True)
    found.migrate(MIGRATIONS)
    found.write_now(lambda c: store.add(c, TERMS))
    yield found
    found.close()


@pytest.fixture
def vault(tmp_path) -> Vault:
    return Vault(b"k" * 32, Shares(tmp_path / "shares"))


def give(database: Database, vault: Vault, *texts: str, request: str = REQUEST) -> list[Record]:
    word = Declaration("terms", ADA, b"r" * 32, len(texts), "MIT", signing.STATEMENT, request, b"s")
    upload = Upload(TERMS, word, Limits(10**4, 10**6, 10**4), Room(10**9), vault)
    for text in texts:
        upload.add({"text": text}, "")
    database.write_now(lambda c: store_records.take(c, word, upload.candidates, 5000))
    return database.read_now(lambda c: store_records.page(c, "terms", "", 0, 1000))


def begin(database: Database, vault: Vault, record: Record, now: int = 9000) -> Record:
    return database.write_now(
        lambda c: store_erasures.begin(
            c, vault, record, f"operations/{record.id}", now, reason="a demand", told="by its contributor"
        )
    )


def manifest(snapshot: Snapshot) -> Manifest:
    return publish.described(snapshot, TERMS.definition, TERMS.owner)


def cut(database: Database, now: int = 7000) -> Snapshot:
    return database.write_now(lambda c: store_snapshots.cut(c, "terms", lambda v: f"operations/{v}", now))


def test_an_erasure_takes_all_that_follows_from_a_text_and_leaves_its_place(database, vault):
    one, two, three = give(database, vault, "one", "two", "three")
    idempotency = METADATA.tables["idempotency"]
    kept = {"caller": f"accounts/{ADA}", "method": "ContributeRecords", "request_id": REQUEST}
    row = kept | {"request_sha256": b"h" * 32, "response": b"an answer"}
    database.write_now(lambda c: c.execute(insert(idempotency).values(row)))
    snapshot = cut(database)
    erased = begin(database, vault, one)
    assert (erased.state, erased.state_time) == (RecordState.ERASED, 9000)

    for table in (CONTENT, KEY):
        left = set(database.read_now(lambda c, t=table: c.execute(select(t.c.record)).scalars().all()))
        assert left == {two.id, three.id}
    firsts = database.read_now(lambda c: c.execute(select(FIRST.c.record)).scalars().all())
    assert sorted(firsts) == sorted([two.name, three.name])
    found = database.read_now(lambda c: c.execute(select(idempotency)).one())
    assert (found.request_sha256, found.response) == (b"", b"")
    again = database.read_now(lambda c: store_records.get(c, "terms", one.id))
    assert again == replace(one, state=RecordState.ERASED, state_time=9000, size=0)
    rows = database.read_now(lambda c: store_snapshots.leaves(c, snapshot, 0, 9))
    assert [record.id for record in rows] == [one.id, two.id, three.id]
    tree = database.read_now(lambda c: store_snapshots.commitments(c, snapshot))
    assert records.snapshot_root(tree) == snapshot.root
    datanet = database.read_now(lambda c: store.get(c, "terms"))
    assert (datanet.record_count, datanet.contributor_count) == (2, 1)
    assert database.read_now(lambda c: store_records.given(c, "terms")) == 3


def test_an_erasure_is_pending_until_its_end_and_then_says_who_trained_on_it(database, vault):
    one, two, _ = give(database, vault, "one", "two", "three")
    begin(database, vault, two, 9001)
    begin(database, vault, one, 9000)
    first, second = database.read_now(store_erasures.pending)
    assert (first.name, second.name) == (one.name, two.name)
    assert (first.destroyed, len(first.share), first.told) == (False, 10, "by its contributor")
    assert database.read_now(lambda c: c.execute(select(ERASURE.c.reason)).scalars().all()) == ["a demand"] * 2
    database.write_now(lambda c: store_erasures.destroyed(c, one.id))
    assert [e.destroyed for e in database.read_now(store_erasures.pending)] == [True, False]
    assert database.read_now(lambda c: store_erasures.revisions(c, [one.id, two.id])) == {one.id: [], two.id: []}
    database.write_now(lambda c: store_erasures.told(c, one.id, ["adapters/a/revisions/b"]))
    assert [e.name for e in database.read_now(store_erasures.pending)] == [two.name]
    assert database.read_now(lambda c: store_erasures.revisions(c, [one.id])) == {one.id: ["adapters/a/revisions/b"]}


def test_a_log_grows_in_order_alone(database, vault):
    give(database, vault, "one")
    first = cut(database)
    give(database, vault, "two", request=REQUEST.replace("1", "2"))
    second = cut(database, 8000)
    assert database.read_now(store_log.unpublished) == [first, second]
    with pytest.raises(ValueError, match="not in the log yet"):
        database.write_now(lambda c: store_log.append(c, second, manifest(second)))
    database.write_now(lambda c: store_log.append(c, first, manifest(first)))
    made = database.write_now(lambda c: store_log.append(c, second, manifest(second)))
    assert made.manifest == manifest(second).digest()
    other = manifest(second).model_copy(update={"description": "other words"})
    assert database.write_now(lambda c: store_log.append(c, second, other)) == made, "the first one's word"
    entries = database.read_now(lambda c: store_log.entries(c, "terms", 9))
    assert [json.loads(entry)["snapshot"] for entry in entries] == [first.name, second.name]
    assert database.read_now(lambda c: store_snapshots.get(c, "terms", 2)) == made
    assert database.read_now(store_log.unpublished) == []
    assert database.read_now(lambda c: store_log.size(c, "terms")) == 2


def test_keys_of_before_get_shares_and_what_was_broken_off_goes_on(database, vault, monkeypatch):
    monkeypatch.setattr(wrap_again, "_AT_ONCE", 3)
    bare = before_shares()
    made = give(database, bare, *(f"text {n}" for n in range(10)))
    wrapped, calls = vault.wrapped_again, []

    def dies(*given):
        calls.append(given)
        if len(calls) == 5:
            raise RuntimeError("the power went out")
        return wrapped(*given)

    monkeypatch.setattr(vault, "wrapped_again", dies)
    with pytest.raises(RuntimeError):
        wrap_again.wrap_again(database, vault)
    lengths = select(func.length(KEY.c.wrapped), func.count()).group_by(func.length(KEY.c.wrapped))
    assert dict(map(tuple, database.read_now(lambda c: c.execute(lengths).all()))) == {60: 7, 70: 3}
    assert wrap_again.wrap_again(database, vault) == 7
    assert wrap_again.wrap_again(database, vault) == 0
    said = database.read_now(lambda c: store_records.contents(c, vault, [record.id for record in made]))
    assert [said[record.id].fields["text"] for record in made] == [f"text {n}" for n in range(10)]
    assert database.read_now(lambda c: store_records.contents(c, bare, [made[0].id])) == {}
    keys = database.read_now(lambda c: c.execute(select(KEY.c.wrapped)).scalars().all())
    assert len(set(map(place, keys))) == 10


def test_an_account_has_room_again_for_what_was_erased(database, vault):
    (one,) = give(database, vault, "one")
    most = store_use.Use(9, 10**6)
    database.write_now(lambda c: store_use.add(c, ADA, store_use.Use(1, one.size + 5), most))
    begin(database, vault, one)
    assert database.read_now(lambda c: c.execute(select(USE.c.records, USE.c.bytes)).one()) == (1, 5)
    database.write_now(lambda c: store_use.give_back(c, ADA, 7))
    assert database.read_now(lambda c: c.execute(select(USE.c.bytes)).scalar_one()) == 0


def test_a_record_that_does_not_open_keeps_nothing_from_the_others(database, vault):
    one, two, three = give(database, vault, "one", "two", "three")
    wrapped = database.read_now(lambda c: c.execute(select(KEY.c.wrapped).where(KEY.c.record == two.id)).scalar_one())
    vault.destroy(place(wrapped))
    said = database.read_now(lambda c: store_records.contents(c, vault, [one.id, two.id, three.id]))
    assert sorted(said) == sorted([one.id, three.id])
    texts = database.read_now(lambda c: list(store_records.texts(c, vault, "terms", "", 0)))
    assert [record.id for record, _ in texts] == [one.id, three.id]
    assert begin(database, vault, two).state is RecordState.ERASED
    firsts = database.read_now(lambda c: c.execute(select(FIRST.c.record)).scalars().all())
    assert sorted(firsts) == sorted([one.name, three.name])


def test_a_key_that_does_not_open_keeps_no_other_from_its_share(database, vault, monkeypatch):
    monkeypatch.setattr(wrap_again, "_AT_ONCE", 2)
    made = give(database, before_shares(), *(f"text {n}" for n in range(5)))
    bad = sorted(record.id for record in made)[1]
    database.write_now(lambda c: c.execute(update(KEY).where(KEY.c.record == bad).values(wrapped=b"w" * 60)))
    assert wrap_again.wrap_again(database, vault) == 4
    said = database.read_now(lambda c: store_records.contents(c, vault, [record.id for record in made]))
    assert set(said) == {record.id for record in made} - {bad}


@pytest.mark.needs("postgresql")
def test_a_text_that_is_erased_while_it_is_given_again_is_the_givers(postgres_cluster, vault):
    with postgres.fresh_database(postgres_cluster) as url:
        database = Database(url)
        database.migrate(MIGRATIONS)
        database.write_now(lambda c: store.add(c, TERMS))
        (one,) = give(database, vault, "one")
        erased = []

        def before(connection, cursor, statement, *_):
            if statement.startswith("SELECT first_record") and not erased:
                erased.append(one)
                with ThreadPoolExecutor(1) as another:
                    another.submit(begin, database, vault, one).result()

        event.listen(Engine, "before_cursor_execute", before)
        try:
            records_ = give(database, vault, "one", request=REQUEST.replace("1", "2"))
        finally:
            event.remove(Engine, "before_cursor_execute", before)
            database.close()
    assert erased
    assert [record.state for record in records_] == [RecordState.ERASED, RecordState.ACCEPTED]
