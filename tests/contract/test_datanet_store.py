"""The Datanet's store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from openledger import records, signing
from services.datanet import publish, store, store_log, store_members, store_records, store_snapshots, store_use
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.members import Member, Role, State
from services.datanet.model import (
    Anchor,
    Datanet,
    Definition,
    Duplicates,
    Field,
    Kind,
    PersonalData,
    Policy,
    Snapshot,
    Visibility,
)
from services.datanet.store import Wanted
from services.datanet.store_use import Use
from services.datanet.upload import Candidate, Limits, Room, Upload
from services.kit.auth import ANYONE, Principal
from services.kit.database import Database
from services.kit.errors import Fault
from tests.old_vault import before_shares

ADA, BOB = "0x" + "a" * 40, "0x" + "b" * 40
DEFINITION = Definition(
    "Terms",
    "CC-BY-4.0",
    "Wörter",
    ("a", "b"),
    "notice",
    (Field("text", "The text", required=True),),
    Policy(1, 99, ("de", "en"), PersonalData.ASK, Duplicates.CREDIT, 100, 2, 3, 500, 30),
)
TERMS = Datanet("terms", BOB, DEFINITION, 0, 0, 1, 1000, 1000)
VAULT = before_shares()
LIMITS = Limits(10_000, 10_000_000, 10_000)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    found.migrate(MIGRATIONS)
    found.write_now(lambda c: store.add(c, TERMS))
    yield found
    found.close()


def declaration(contributor: str, count: int, datanet: str = "terms") -> Declaration:
    request_id = str(uuid.uuid4())
    return Declaration(datanet, contributor, b"r" * 32, count, "CC-BY-4.0", signing.STATEMENT, request_id, b"s")


def give(database: Database, contributor: str, *texts: str, datanet: str = "terms") -> dict[int, str]:
    """Take texts in; returns by index the name of the record that came first, ours where it was accepted."""
    word, candidates = offered(contributor, *texts, datanet=datanet)
    return database.write_now(lambda c: store_records.take(c, word, candidates, 5000))


def offered(contributor: str, *texts: str, datanet: str = "terms") -> tuple[Declaration, list[Candidate]]:
    word = declaration(contributor, len(texts), datanet)
    upload = Upload(replace(TERMS, id=datanet), word, LIMITS, Room(10**9), VAULT)
    for text in texts:
        upload.add({"text": text}, "a source")
    upload.judge([()] * len(upload.unseen))
    return word, upload.candidates


def names(database: Database) -> list[str]:
    return [record.name for record in database.read_now(lambda c: store_records.page(c, "terms", "", 0, 10_000))]


def cut(database: Database, now: int = 7000) -> Snapshot:
    return database.write_now(lambda c: store_snapshots.cut(c, "terms", lambda v: f"operations/terms-{v}", now))


def refusal(call) -> str:
    with pytest.raises(Fault) as caught:
        call()
    return caught.value.reason


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), store.METADATA)

    assert database.read_now(differences) == []


def test_migrating_again_changes_nothing(database):
    database.migrate(MIGRATIONS)
    assert database.read_now(lambda c: store.get(c, "terms")) == TERMS


def test_a_datanet_is_kept_whole_and_its_id_is_given_once(database):
    assert database.read_now(lambda c: store.get(c, "terms")) == TERMS
    assert database.write_now(lambda c: store.add(c, replace(TERMS, owner=ADA))) is False
    assert database.read_now(lambda c: store.get(c, "terms")).owner == BOB


def test_a_new_definition_is_a_new_revision(database):
    changed = replace(DEFINITION, display_name="Words", tags=())
    database.write_now(lambda c: store.redefine(c, "terms", changed, 2000))
    expected = replace(TERMS, definition=changed, revision=2, update_time=2000)
    assert database.read_now(lambda c: store.get(c, "terms")) == expected


def test_datanets_are_listed_newest_first_page_by_page(database):
    for number in range(3):
        made = replace(TERMS, id=f"more-{number}", create_time=2000)
        database.write_now(lambda c, d=made: store.add(c, d))
    first = database.read_now(lambda c: store.page(c, None, 2, ANYONE, Wanted()))
    after = (first[-1].create_time, first[-1].id)
    rest = database.read_now(lambda c: store.page(c, after, 9, ANYONE, Wanted()))
    assert [d.id for d in first + rest] == ["more-2", "more-1", "more-0", "terms"]


def test_what_is_not_there_is_named(database):
    assert refusal(lambda: database.read_now(lambda c: store.get(c, "none"))) == "DATANET_NOT_FOUND"
    assert refusal(lambda: database.read_now(lambda c: store_records.get(c, "terms", "no"))) == "RECORD_NOT_FOUND"
    assert refusal(lambda: database.read_now(lambda c: store_snapshots.get(c, "terms", 1))) == "SNAPSHOT_NOT_FOUND"


def test_records_are_numbered_in_the_order_in_which_they_came(database):
    one, two = give(database, ADA, "one", "two"), give(database, BOB, "three")
    assert names(database) == [one[0], one[1], two[0]]
    found = database.read_now(lambda c: store_records.page(c, "terms", "", 0, 9))
    assert [r.number for r in found] == [1, 2, 3]
    datanet = database.read_now(lambda c: store.get(c, "terms"))
    assert (datanet.record_count, datanet.contributor_count) == (3, 2)


def test_records_are_listed_by_contributor_and_after_a_number(database):
    give(database, ADA, "one", "two")
    give(database, BOB, "three")
    bobs = database.read_now(lambda c: store_records.page(c, "terms", BOB, 0, 9))
    assert [(r.contributor, r.number) for r in bobs] == [(BOB, 3)]
    later = database.read_now(lambda c: store_records.page(c, "terms", "", 1, 1))
    assert [r.number for r in later] == [2]


def test_a_record_says_what_was_given_and_opens_its_commitment(database):
    name = give(database, ADA, "Fieber é 发烧")[0]
    record_id = name.rpartition("/")[2]
    record = database.read_now(lambda c: store_records.get(c, "terms", record_id))
    content = database.read_now(lambda c: store_records.contents(c, VAULT, [record_id]))[record_id]
    assert (content.fields, content.source) == ({"text": "Fieber é 发烧"}, "a source")
    assert record.commitment == records.commitment(content.salt, content.canonical)
    assert record.size == len(content.canonical)


def test_the_first_author_stays_the_author_in_every_datanet(database):
    database.write_now(lambda c: store.add(c, replace(TERMS, id="words")))
    first = give(database, ADA, "one")[0]
    assert give(database, BOB, " one ", "two", datanet="words")[0] == first
    assert give(database, ADA, "one")[0] == first
    datanet = database.read_now(lambda c: store.get(c, "words"))
    assert (datanet.record_count, datanet.contributor_count) == (1, 1)


def test_a_text_twice_in_one_upload_is_its_first_record(database):
    found = give(database, ADA, "one", "two", "one\n")
    assert found[2] == found[0]
    assert names(database) == [found[0], found[1]]


def test_uploads_larger_than_a_statement_are_taken_whole(database):
    texts = [f"text {i}" for i in range(1001)]
    found = give(database, ADA, *texts)
    assert names(database) == [found[i] for i in range(1001)]
    assert give(database, BOB, *reversed(texts)) == {i: found[1000 - i] for i in range(1001)}


def test_what_fails_at_the_end_leaves_nothing_behind(database):
    word, candidates = offered(ADA, "one", "two")

    def breaks(connection):
        store_records.take(connection, word, candidates, 5000)
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        database.write_now(breaks)
    assert names(database) == []
    assert give(database, BOB, "one")[0] == names(database)[0]


def test_a_licence_that_changed_while_an_upload_came_in_is_noticed(database):
    word, candidates = offered(ADA, "one")
    database.write_now(lambda c: store.redefine(c, "terms", replace(DEFINITION, licence="MIT"), 2000))
    found = refusal(lambda: database.write_now(lambda c: store_records.take(c, word, candidates, 5000)))
    assert found == "DECLARATION_MISMATCH"


def test_of_eight_who_race_for_the_same_texts_each_text_gets_one_author(database):
    texts = [f"text {i}" for i in range(60)]
    results: dict[int, dict[int, str]] = {}
    gate = threading.Barrier(8)

    def race(runner: int) -> None:
        order = texts[runner:] + texts[:runner] if runner % 2 else list(reversed(texts))
        gate.wait()
        found = give(database, f"0x{runner:040x}", *order)
        results[runner] = {texts.index(order[i]): name for i, name in found.items()}

    threads = [threading.Thread(target=race, args=(runner,)) for runner in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 8
    for text in range(60):
        assert len({found[text] for found in results.values()}) == 1
    assert len(names(database)) == 60
    found = database.read_now(lambda c: store_records.page(c, "terms", "", 0, 100))
    assert [r.number for r in found] == list(range(1, 61))
    assert database.read_now(lambda c: store.get(c, "terms")).record_count == 60


def test_a_snapshot_freezes_what_was_there(database):
    give(database, ADA, "one", "two")
    first = cut(database)
    give(database, BOB, "three")
    second = cut(database, 8000)
    assert [(s.version, s.record_count, s.contributor_count) for s in (first, second)] == [(1, 2, 1), (2, 3, 2)]
    tree = database.read_now(lambda c: store_snapshots.commitments(c, first))
    assert records.snapshot_root(tree) == first.root
    rows = database.read_now(lambda c: store_snapshots.leaves(c, first, 1, 9))
    assert [record.name for record in rows] == [names(database)[1]]
    last_id = names(database)[2].rpartition("/")[2]
    assert database.read_now(lambda c: store_snapshots.leaf_of(c, second, last_id)) == 2
    missing = refusal(lambda: database.read_now(lambda c: store_snapshots.leaf_of(c, first, last_id)))
    assert missing == "RECORD_NOT_IN_SNAPSHOT"
    assert database.read_now(lambda c: store_snapshots.page(c, "terms", None, 9)) == [second, first]
    assert database.read_now(lambda c: store_snapshots.page(c, "terms", 2, 9)) == [first]


def test_there_is_no_snapshot_of_nothing_nor_of_nothing_new(database):
    assert refusal(lambda: cut(database)) == "EMPTY_SNAPSHOT"
    give(database, ADA, "one")
    cut(database)
    assert refusal(lambda: cut(database)) == "NOTHING_NEW"


def test_a_snapshot_waits_until_it_is_anchored(database):
    give(database, ADA, "one")
    cut(database)
    (frozen,) = database.read_now(store_log.unpublished)
    assert database.read_now(store_snapshots.unanchored) == [], "its files are made first"
    manifest = publish.described(frozen, TERMS.definition, TERMS.owner)
    snapshot = database.write_now(lambda c: store_log.append(c, frozen, manifest))
    assert database.read_now(store_snapshots.unanchored) == [snapshot]
    database.write_now(lambda c: store_snapshots.refused(c, snapshot))
    database.write_now(lambda c: store_snapshots.refused(c, snapshot))
    assert database.read_now(store_snapshots.unanchored) == [replace(snapshot, attempt=1)]
    anchor = Anchor(2**40, "0xc", "0xt", 7)
    database.write_now(lambda c: store_snapshots.anchor(c, snapshot, anchor))
    assert database.read_now(store_snapshots.unanchored) == []
    assert database.read_now(lambda c: store_snapshots.get(c, "terms", 1)).anchor == anchor


def seen(database: Database, viewer: Principal, **wanted) -> list[str]:
    rows = database.read_now(lambda c: store.page(c, None, 99, viewer, Wanted(**wanted)))
    return sorted(datanet.id for datanet in rows)


@pytest.fixture
def several(database: Database) -> Database:
    """Beside `terms`: one that is closed, and one of another kind and other tags."""
    closed = Definition("Closed 100%", "CC-BY-4.0", "Größe", ("b",), visibility=Visibility.PRIVATE)
    images = Definition("Photos", "MIT", tags=("a", "c"), kind=Kind.IMAGE, visibility=Visibility.BY_REQUEST)
    for id_, definition in (("closed", closed), ("photos", images)):
        made = replace(TERMS, id=id_, definition=definition)
        database.write_now(lambda c, d=made: store.add(c, d))
    return database


def put(database: Database, datanet: str, account: str, state: State) -> None:
    member = Member(datanet, account, Role.VALIDATOR, state, 1, 2)
    database.write_now(lambda c: store_members.put(c, member))


def test_a_closed_datanet_is_listed_for_its_owner_its_members_and_services(several):
    ada = Principal(address=ADA)
    assert seen(several, ANYONE) == seen(several, ada) == ["photos", "terms"]
    assert seen(several, Principal(address=BOB)) == seen(several, Principal(service="x")) == [
        "closed", "photos", "terms"
    ]  # fmt: skip
    put(several, "closed", ADA, State.REQUESTED)
    assert seen(several, ada) == ["photos", "terms"]
    put(several, "closed", ADA, State.INVITED)
    assert seen(several, ada) == ["closed", "photos", "terms"]


def test_datanets_are_found_by_words_tags_kind_and_who_has_to_do_with_them(several):
    bob = Principal(address=BOB)
    assert seen(several, bob, words=("wört",)) == ["terms"]
    assert seen(several, bob, words=("größe",)) == [], "words are looked for in their folded form"
    assert seen(several, bob, words=("grösse",)) == ["closed"]
    assert seen(several, bob, words=("100%",)) == ["closed"]
    assert seen(several, bob, words=("10%",)) == seen(several, bob, words=("_",)) == []
    assert seen(several, bob, words=("o", "photo")) == ["photos"]
    assert seen(several, bob, tags=("a",)) == ["photos", "terms"]
    assert seen(several, bob, tags=("a", "b")) == ["terms"]
    assert seen(several, bob, kind=Kind.IMAGE) == ["photos"]
    assert seen(several, Principal(address=ADA), mine=True) == []
    put(several, "photos", ADA, State.REQUESTED)
    assert seen(several, Principal(address=ADA), mine=True) == ["photos"]
    assert seen(several, bob, mine=True) == ["closed", "photos", "terms"]
    several.write_now(lambda c: store.redefine(c, "terms", replace(DEFINITION, tags=("z",), description=""), 9))
    assert seen(several, bob, tags=("b",)) == ["closed"]
    assert seen(several, bob, words=("wört",)) == []


def test_an_owner_has_so_many_datanets(several):
    several.read_now(lambda c: store.check_room(c, BOB, 4))
    assert refusal(lambda: several.read_now(lambda c: store.check_room(c, BOB, 3))) == "DATANETS_FULL"


def test_members_are_kept_changed_listed_and_removed(database):
    for account in (ADA, BOB, "0x" + "0" * 40):
        put(database, "terms", account, State.INVITED)
    put(database, "terms", ADA, State.ACTIVE)
    assert database.read_now(lambda c: store_members.get(c, "terms", ADA)) == Member(
        "terms", ADA, Role.VALIDATOR, State.ACTIVE, 1, 2
    )
    assert database.read_now(lambda c: store_members.count(c, "terms")) == 3
    page = database.read_now(lambda c: store_members.page(c, "terms", ADA, 9))
    assert [member.account for member in page] == [BOB]
    assert database.write_now(lambda c: store_members.remove(c, "terms", ADA)) is True
    assert database.write_now(lambda c: store_members.remove(c, "terms", ADA)) is False
    assert database.read_now(lambda c: store_members.get(c, "terms", ADA)) is None


def test_who_gave_a_record_knows_the_datanet_for_good(several):
    stranger = Principal(address=ADA)
    at = "closed"
    known = refusal(lambda: several.read_now(lambda c: store_members.standing(c, at, stranger)))
    assert known == refusal(lambda: several.read_now(lambda c: store_members.standing(c, "none", stranger)))
    give(several, ADA, "one", datanet=at)
    assert several.read_now(lambda c: store_members.standing(c, at, stranger)).gave


def test_an_owner_cuts_so_many_snapshots_a_day(database):
    give(database, ADA, "one")
    cut(database)
    give(database, ADA, "two")
    cut(database, 9000)
    database.read_now(lambda c: store_snapshots.check_room(c, BOB, 6000, 3))
    database.read_now(lambda c: store_snapshots.check_room(c, ADA, 6000, 1))
    database.read_now(lambda c: store_snapshots.check_room(c, BOB, 7000, 2))
    with pytest.raises(Fault, match="2 snapshots within 24 hours") as caught:
        database.read_now(lambda c: store_snapshots.check_room(c, BOB, 6000, 2))
    assert (caught.value.reason, caught.value.retry_after) == ("SNAPSHOTS_FULL", 1e-3)


def test_an_account_gives_so_much(database):
    most = Use(5, 100)
    database.read_now(lambda c: store_use.check(c, ADA, most))
    database.write_now(lambda c: store_use.add(c, ADA, Use(3, 60), most))
    for more in (Use(3, 1), Use(1, 41)):
        full = refusal(lambda m=more: database.write_now(lambda c: store_use.add(c, ADA, m, most)))
        assert full == "ACCOUNT_FULL"
    database.write_now(lambda c: store_use.add(c, ADA, Use(1, 40), most))
    assert refusal(lambda: database.read_now(lambda c: store_use.check(c, ADA, most))) == "ACCOUNT_FULL"
    database.write_now(lambda c: store_use.add(c, BOB, Use(5, 100), most))


def test_texts_are_opened_one_after_the_other_from_a_number_on(database):
    give(database, ADA, *(f"text {i}" for i in range(150)))
    give(database, BOB, "bob's")

    def texts(contributor: str, after: int) -> list[str]:
        rows = database.read_now(lambda c: list(store_records.texts(c, VAULT, "terms", contributor, after)))
        return [content.fields["text"] for _, content in rows]

    assert texts("", 0) == [*(f"text {i}" for i in range(150)), "bob's"]
    assert texts(ADA, 148) == ["text 148", "text 149"]
    assert texts(BOB, 0) == ["bob's"]


def test_nothing_that_a_record_says_lies_in_the_tables(database):
    give(database, ADA, "a marked text")
    fingerprint = records.fingerprint({"text": "a marked text"})

    def everything(connection) -> str:
        rows = [connection.execute(table.select()).all() for table in store.METADATA.sorted_tables]
        return repr(rows)

    stored = database.read_now(everything)
    for found in (b"a marked text", b"a source", fingerprint):
        assert repr(found)[2:-1] not in stored
