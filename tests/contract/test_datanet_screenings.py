"""What was found in records, and records that wait, in the Datanet's store; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from openledger import signing
from services.datanet import sealing, store, store_erasures, store_records, store_screenings, store_snapshots
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.model import Datanet, Definition, Field, PersonalData, Policy, Record, RecordState
from services.datanet.screen import Finding
from services.datanet.shares import Shares
from services.datanet.tables import DECLARATION, METADATA, SCREENING
from services.datanet.upload import Limits, Room, Upload
from services.datanet.vault import Vault
from services.kit.database import Database
from services.kit.errors import Fault

ADA, BOB = "0x" + "a" * 40, "0x" + "b" * 40
ASKS = Definition("Terms", "MIT", fields=(Field("text"),), policy=Policy(personal_data=PersonalData.ASK))
TERMS = Datanet("terms", BOB, ASKS, 0, 0, 1, 1000, 1000)
FINE = (Finding("language", passed=True, value="en"),)
FOUND = (*FINE, Finding("personal_data", False, "PERSONAL_DATA", "words", {"text": "[NAME 1]"}))


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


def give(
    database: Database, vault: Vault, said: dict[str, Sequence[Finding]], confirmation: str = "", by: str = ADA
) -> list[Record]:
    request = confirmation or str(uuid.uuid4())
    word = Declaration("terms", by, b"r" * 32, len(said), "MIT", signing.STATEMENT, request, b"s")
    upload = Upload(TERMS, word, Limits(10**4, 10**6, 10**4), Room(10**9), vault)
    for text in said:
        upload.add({"text": text}, "")
    upload.judge([tuple(found) for found in said.values()])
    first = database.write_now(lambda c: store_records.take(c, word, upload.candidates, 5000, confirmation))
    ids = [first[index].split("/")[-1] for index in range(len(said))]
    return [database.read_now(lambda c, i=i: store_records.get(c, "terms", i)) for i in ids]


def seen(database: Database, viewer: str = "") -> list[str]:
    return [r.id for r in database.read_now(lambda c: store_records.page(c, "terms", "", 0, 99, viewer))]


def counts(database: Database) -> tuple[int, int]:
    found = database.read_now(lambda c: store.get(c, "terms"))
    return found.record_count, found.contributor_count


def test_findings_are_kept_without_what_they_suggest(database, vault):
    one, two, three = give(database, vault, {"one": FINE, "two": FOUND, "three": ()})
    found = database.read_now(lambda c: store_screenings.findings(c, [one.id, two.id, three.id]))
    assert found == {one.id: FINE, two.id: (*FINE, replace(FOUND[1], suggestion=None))}
    assert not any(
        "[NAME 1]" in row.findings for row in database.read_now(lambda c: c.execute(select(SCREENING)).all())
    )


def test_a_record_that_waits_is_its_contributors_alone_and_in_no_count_and_no_snapshot(database, vault):
    (waits,) = give(database, vault, {"one": FOUND})
    assert waits.state is RecordState.SCREENED
    assert counts(database) == (0, 0)
    with pytest.raises(Fault, match="no accepted"):
        database.write_now(lambda c: store_snapshots.cut(c, "terms", str, 7000))
    (taken,) = give(database, vault, {"two": FINE})
    assert counts(database) == (1, 1)
    assert (seen(database), seen(database, BOB), seen(database, ADA)) == ([taken.id], [taken.id], [waits.id, taken.id])
    assert database.read_now(lambda c: store_records.get(c, "terms", waits.id, ADA)) == waits
    with pytest.raises(Fault, match="there is no"):
        database.read_now(lambda c: store_records.get(c, "terms", waits.id, BOB))
    (content,) = database.read_now(lambda c: store_records.contents(c, vault, [waits.id])).values()
    assert (content.fields, content.suggested) == ({"text": "one"}, {"text": "[NAME 1]"})


def test_who_said_it_first_stays_first_while_it_waits(database, vault):
    (waits,) = give(database, vault, {"one": FOUND})
    assert give(database, vault, {"one": FINE}, by=BOB) == [waits]


def test_a_record_that_waited_is_accepted_after_those_that_came_meanwhile(database, vault):
    (waits,), (taken,) = give(database, vault, {"one": FOUND}), give(database, vault, {"two": FINE}, by=BOB)
    text = sealing.text(vault, waits.id, {"text": "one"})
    accepted = database.write_now(lambda c: store_records.accept(c, vault, waits, text, 9000))
    assert (accepted.state, accepted.state_time) == (RecordState.ACCEPTED, 9000)
    assert database.read_now(lambda c: store_records.get(c, "terms", waits.id)) == accepted
    assert seen(database) == [taken.id, waits.id]
    assert counts(database) == (2, 2)
    (later,) = give(database, vault, {"three": FINE})
    assert later.number > accepted.number > taken.number


def test_what_is_found_when_it_is_confirmed_takes_the_place_of_what_was_found(database, vault):
    (record,) = give(database, vault, {"one": FOUND})
    now = (Finding("language", passed=True, value="de"), Finding("quality", passed=True))
    expected = (now[0], replace(FOUND[1], suggestion=None), now[1])
    assert database.write_now(lambda c: store_screenings.confirmed(c, record.id, "r", now)) == expected
    assert database.read_now(lambda c: store_screenings.findings(c, [record.id])) == {record.id: expected}


@pytest.mark.parametrize("masked", (False, True))
def test_erasing_takes_what_was_found_and_what_its_contributors_word_leaves(database, vault, masked):
    word = "22222222-2222-4222-8222-222222222222"
    if masked:
        (record,) = give(database, vault, {"masked": FINE}, confirmation=word)
    else:
        (record,) = give(database, vault, {"one": FOUND})
        declared = Declaration("terms", ADA, b"q" * 32, 1, "MIT", signing.STATEMENT, word, b"s")
        database.write_now(lambda c: store_records.declared(c, declared, 6000))
        database.write_now(lambda c: store_screenings.confirmed(c, record.id, word, ()))
    idempotency = METADATA.tables["idempotency"]
    row = {"caller": f"accounts/{ADA}", "method": "ConfirmRecord", "request_id": word}
    database.write_now(
        lambda c: c.execute(insert(idempotency).values(row | {"request_sha256": b"h", "response": b"a"}))
    )
    database.write_now(lambda c: store_erasures.begin(c, vault, record, "operations/1", 9000, reason="", told="why"))
    assert database.read_now(lambda c: c.execute(select(SCREENING)).all()) == []
    left = database.read_now(lambda c: c.execute(select(DECLARATION.c.content_root, DECLARATION.c.signature)).all())
    assert set(left) == {(b"", b"")}
    found = database.read_now(lambda c: c.execute(select(idempotency)).one())
    assert (found.request_sha256, found.response) == (b"", b"")
