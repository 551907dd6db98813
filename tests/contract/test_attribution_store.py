"""Attribution's store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import services.attribution
from services.attribution import store, store_audits, store_traces, store_tries
from services.attribution.store import Issued, Refused
from services.attribution.store_audits import Audited
from services.kit.database import Database
from services.kit.durable_log import DurableLog

MIGRATIONS = Path(services.attribution.__file__).parent / "migrations"
PAYER, OTHER = "accounts/0x" + "a" * 40, "accounts/0x" + "b" * 40
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REFUSED = Refused("d1", PAYER, "UNKNOWN_MODEL", "who is that?", "d" * 64)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    found.migrate(MIGRATIONS)
    yield found
    found.close()


@pytest.fixture
def log(database: Database) -> DurableLog:
    found = DurableLog(database, store.METADATA, store.STREAM)
    found.open()
    return found


def issued(number: int, payer: str = PAYER) -> Issued:
    return Issued(
        f"responses/r{number}", payer, f"{number:064x}", b"document %d" % number, "2026-01-02T03:04:06.000000Z"
    )


def commit(database: Database, log: DurableLog, *outcomes: Issued | Refused) -> None:
    database.write_now(lambda c: store.commit(c, log, outcomes, NOW))


def test_the_migrated_schema_is_the_one_in_the_code(database):
    def differences(connection):
        assert {store_audits.AUDIT, store_tries.TRY, store_traces.SEALED, store_traces.FORGOTTEN} <= set(
            store.METADATA.tables.values()
        )
        return compare_metadata(MigrationContext.configure(connection), store.METADATA)

    assert database.read_now(differences) == []


def test_migrating_again_changes_nothing(database, log):
    commit(database, log, issued(1))
    database.migrate(MIGRATIONS)
    assert database.read_now(lambda c: store.receipt(c, "responses/r1")) is not None


async def test_receipts_are_in_the_log_in_order_and_found_by_response(database, log):
    commit(database, log, issued(2), issued(1))
    commit(database, log, issued(3))
    batch = await log.read(0)
    assert [(e.offset, e.key, e.payload) for e in batch.entries] == [
        (1, "responses/r2", b"document 2"),
        (2, "responses/r1", b"document 1"),
        (3, "responses/r3", b"document 3"),
    ]
    found = database.read_now(lambda c: store.receipt(c, "responses/r1"))
    assert found == store.StoredReceipt(2, b"document 1", NOW)
    assert database.read_now(lambda c: store.receipt(c, "responses/r4")) is None
    assert database.read_now(lambda c: store.times(c, [1, 3, 9])) == {1: NOW, 3: NOW}


async def test_what_was_committed_is_never_changed_by_coming_again(database, log):
    commit(database, log, issued(1), REFUSED)
    again = replace(issued(1), document=b"another", trace_sha256="f" * 64)
    commit(database, log, again, again, issued(2), replace(REFUSED, reason="TOO_LONG"))
    batch = await log.read(0)
    assert [e.payload for e in batch.entries] == [b"document 1", b"document 2"]
    assert batch.high_watermark == 2
    letters = database.read_now(lambda c: store.dead_letters(c, None, 10))
    assert [letter.refused for letter in letters] == [REFUSED]


async def test_a_failed_transaction_leaves_neither_receipt_nor_dead_letter(database, log):
    def broken(connection):
        store.commit(connection, log, [issued(1), REFUSED], NOW)
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        database.write_now(broken)
    assert (await log.read(0)).high_watermark == 0
    assert database.read_now(lambda c: store.receipt(c, "responses/r1")) is None
    assert database.read_now(lambda c: store.dead_letter(c, "d1")) is None


def test_a_payers_receipts_come_newest_first_and_in_pages(database, log):
    commit(database, log, *(issued(n, OTHER if n % 3 == 0 else PAYER) for n in range(1, 8)))
    mine = [1, 2, 4, 5, 7]

    def page(before, limit, most_bytes=10**6):
        rows, more = database.read_now(lambda c: store.receipts_of(c, PAYER, before, limit, most_bytes))
        return [row.offset for row in rows], more

    assert page(None, 10) == (mine[::-1], False)
    assert page(None, 2) == ([7, 5], True)
    assert page(5, 2) == ([4, 2], True)
    assert page(4, 2) == ([2, 1], False)
    assert page(1, 2) == ([], False)
    size = len(issued(1).document)
    assert page(None, 10, 3 * size) == ([7, 5, 4], True)
    assert page(None, 10, 3 * size - 1) == ([7, 5], True)
    assert page(2, 10, 0) == ([1], False), "one, however large it is"


def test_dead_letters_come_newest_first_and_in_pages(database, log):
    for n in range(5):
        commit(database, log, replace(REFUSED, key=f"d{n}"))
    letters = database.read_now(lambda c: store.dead_letters(c, None, 3))
    assert [letter.refused.key for letter in letters] == ["d4", "d3", "d2"]
    older = database.read_now(lambda c: store.dead_letters(c, letters[-1].number, 3))
    assert [letter.refused.key for letter in older] == ["d1", "d0"]
    assert older[0].create_time == NOW
    assert database.read_now(lambda c: store.dead_letter(c, "d3")) == store.DeadLetter(
        letters[1].number, replace(REFUSED, key="d3"), NOW
    )


def test_a_dead_letter_is_kept_whatever_its_message_quotes(database, log):
    commit(database, log, replace(REFUSED, message="metrics.\0 must be a number" + "x" * 10**6))
    letter = database.read_now(lambda c: store.dead_letter(c, REFUSED.key))
    assert letter.refused.message.startswith("metrics. must be a number")
    assert len(letter.refused.message) == store.MAX_MESSAGE


def test_by_which_trace_a_response_was_settled(database, log):
    commit(database, log, issued(1), REFUSED, issued(2), replace(REFUSED, key="r2", trace_sha256="e" * 64))
    wanted = ["responses/r1", "responses/r2", "responses/d1", "responses/none"]
    assert database.read_now(lambda c: store.traces_of(c, wanted)) == {
        "responses/r1": f"{1:064x}",
        "responses/r2": f"{2:064x}",  # the receipt's, not that of the trace that came later
        "responses/d1": "d" * 64,
    }
    assert database.read_now(lambda c: store.traces_of(c, [])) == {}


def test_audits_are_kept_once_and_read_by_the_share_that_draws_them(database):
    found = [Audited(f"responses/r{n}", "m", n / 10, 0.0, f"d{n}", 100 * n) for n in range(4)]
    database.write_now(lambda c: store_audits.keep(c, found, NOW))
    database.write_now(lambda c: store_audits.keep(c, [replace(found[0], paid=1.0)], NOW))
    assert database.read_now(lambda c: store_audits.audits(c, "m")) == found
    assert database.read_now(lambda c: store_audits.audits(c, "m", 200)) == found[:2]
    assert database.read_now(lambda c: store_audits.audits(c, "other")) == []
