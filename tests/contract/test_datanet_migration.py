"""A Datanet's database of before records were sealed: all comes out whole, and nothing that they say stays in clear."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import inspect, text

from openledger import records
from services.datanet import seal_clear, sealing, store, store_alike, store_erasures, store_likeness, store_records
from services.datanet.__main__ import MIGRATIONS
from services.datanet.liken import Likening
from services.datanet.model import Visibility
from services.datanet.store import Wanted
from services.kit.auth import ANYONE
from services.kit.database import Database
from tests.old_vault import before_shares

ADA = "0x" + "a" * 40
VAULT = before_shares()
COUNT = 1_203
SAID = {
    "display_name": "Rare Terms", "licence": "MIT", "description": "Was sie heißen", "tags": ["m", "n"],
    "licence_notice": "", "fields": [{"id": "text", "description": "", "required": True}],
    "policy": {"min_chars": 1, "max_chars": 0},
}  # fmt: skip


def marked(number: int) -> str:
    return f"a marked text, number {number}, that nobody should find"


def body(number: int) -> bytes:
    return records.canonical_bytes(ADA, {"text": marked(number)}, "a marked source")


def salt(number: int) -> bytes:
    return hashlib.sha256(b"salt %d" % number).digest()


@pytest.fixture
def before(database_url: str) -> Iterator[Database]:
    """A database of version 0001 with records in it."""
    made = Database(database_url, erases=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def fill(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("INSERT INTO datanet VALUES ('terms', :ada, :said, :count, 1, 1, 5, 5)"),
            {"ada": ADA, "said": json.dumps(SAID), "count": COUNT},
        )
        connection.execute(
            text("INSERT INTO declaration VALUES (:ada, 'r', 'terms', :root, 1, 'MIT', 'mine', :root, 5)"),
            {"ada": ADA, "root": b"r"},
        )
        rows = [
            {
                "id": f"{n:032x}",
                "name": f"datanets/terms/records/{n:032x}",
                "number": n + 1,
                "ada": ADA,
                "commitment": records.commitment(salt(n), body(n)),
                "salt": salt(n),
                "canonical": body(n),
                "fingerprint": records.fingerprint({"text": marked(n)}),
            }
            for n in range(COUNT)
        ]
        record = "INSERT INTO record VALUES (:id, 'terms', :number, :ada, 'r', 'MIT', :commitment, 9, 5)"
        connection.execute(text(record), rows)
        connection.execute(text("INSERT INTO record_content VALUES (:id, :salt, :canonical)"), rows)
        connection.execute(text("INSERT INTO first_record VALUES (:fingerprint, :name)"), rows)

    made.write_now(fill)
    yield made
    made.close()


def check_whole(database: Database) -> None:
    rows = database.read_now(lambda c: list(store_records.texts(c, VAULT, "terms", "", 0)))
    assert [content.fields["text"] for _, content in rows] == [marked(n) for n in range(COUNT)]
    for n, (record, content) in enumerate(rows):
        assert (content.salt, content.canonical, content.source) == (salt(n), body(n), "a marked source")
        assert record.commitment == records.commitment(content.salt, content.canonical)
    found = database.read_now(lambda c: dict(map(tuple, c.execute(text("SELECT * FROM first_record")).all())))
    assert found == {
        sealing.fingerprint_token(VAULT, records.fingerprint({"text": marked(n)})): f"datanets/terms/records/{n:032x}"
        for n in range(COUNT)
    }
    assert not any(name.endswith("_clear") for name in database.read_now(lambda c: inspect(c).get_table_names()))
    use = database.read_now(lambda c: c.execute(text("SELECT * FROM account_use")).all())
    assert list(map(tuple, use)) == [(ADA, COUNT, 9 * COUNT)]
    compared = database.read_now(lambda c: compare_metadata(MigrationContext.configure(c), store.METADATA))
    assert compared == []


def test_records_of_before_are_sealed_and_found_again(before):
    before.migrate(MIGRATIONS)
    assert seal_clear.seal_clear(before, VAULT) == 2 * COUNT
    check_whole(before)
    assert seal_clear.seal_clear(before, VAULT) == 0


def test_sealing_that_was_broken_off_goes_on(before, monkeypatch):
    before.migrate(MIGRATIONS)
    seal, calls = sealing.seal, 0

    def dies(*arguments):
        nonlocal calls
        calls += 1
        if calls == 777:
            raise RuntimeError("the power went out")
        return seal(*arguments)

    monkeypatch.setattr(sealing, "seal", dies)
    with pytest.raises(RuntimeError):
        seal_clear.seal_clear(before, VAULT)
    left = before.read_now(lambda c: c.execute(text("SELECT count(*) FROM record_content_clear")).scalar_one())
    assert left == COUNT - 500
    before.migrate(MIGRATIONS)
    seal_clear.seal_clear(before, VAULT)
    check_whole(before)


def test_datanets_of_before_are_found_and_are_open(before):
    before.migrate(MIGRATIONS)
    asked = Wanted(words=("heissen", "rare"), tags=("n",))
    (found,) = before.read_now(lambda c: store.page(c, None, 9, ANYONE, asked))
    assert (found.id, found.definition.visibility, found.definition.tags) == ("terms", Visibility.PUBLIC, ("m", "n"))


def test_what_they_are_like_is_found_in_them_too_and_made_anew_where_it_was_kept_otherwise(before):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def to_0005(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(text("INSERT INTO likeness VALUES (1, :record, :box)"), {"record": f"{7:032x}", "box": b"b"})
        connection.execute(text("INSERT INTO likeness_posting VALUES (5, 1)"))

    before.write_now(to_0005)
    before.migrate(MIGRATIONS)
    seal_clear.seal_clear(before, VAULT)
    likening = Likening(before, VAULT, Gauge("missing", "Left", registry=CollectorRegistry()))
    assert asyncio.run(likening.all()) == COUNT
    near = sealing.text(VAULT, "new", {"text": marked(7).replace("nobody", "somebody")})
    looked = before.read_now(lambda c: store_alike.look(c, VAULT, [near]))
    found = before.read_now(lambda c: store_alike.earlier(c, VAULT, "0x" + "b" * 40, "terms", [near], looked))
    assert found["new"].contributor == ADA
    assert before.read_now(store_likeness.count_missing) == 0
    check_whole(before)


def test_erasures_that_were_done_stay_so_and_datanets_were_open_until_nothing(before):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def to_0006(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        row = "INSERT INTO erasure VALUES (:record, 'o', '', '', :share, NULL, :time)"
        rows = [{"record": f"{n:032x}", "share": share, "time": n} for n, share in ((7, None), (8, b""), (9, b"at"))]
        connection.execute(text(row), rows)

    before.write_now(to_0006)
    before.migrate(MIGRATIONS)
    found = before.read_now(store_erasures.everything)
    assert [(each.share, each.destroyed) for each in found] == [(b"", True), (b"", False), (b"at", False)]
    assert before.read_now(lambda c: c.execute(text("SELECT open_until FROM datanet")).scalar_one()) == 0


@pytest.mark.parametrize("database_url", ("sqlite",), indirect=True)
def test_nothing_of_before_stays_in_the_files_while_the_service_runs(before, tmp_path: Path):
    everything = lambda: b"".join(file.read_bytes() for file in tmp_path.glob("service.db*"))  # noqa: E731
    assert b"a marked text" in everything()
    before.migrate(MIGRATIONS)
    seal_clear.seal_clear(before, VAULT)
    left = everything()
    for n in range(COUNT):
        assert salt(n) not in left
        assert records.fingerprint({"text": marked(n)}) not in left
    assert b"a marked" not in left
