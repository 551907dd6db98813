"""Databases of earlier versions: what was on its way goes on, and what was followed is known by its blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import services.ledger
from services.kit.database import Database, SchemaError
from services.ledger.store import books, chain, events, leaf_pages, receipts_read, sender
from services.ledger.store.sender import LostPen
from services.ledger.store.tables import METADATA

MIGRATIONS = Path(services.ledger.__file__).parent / "migrations"
A = "0x" + "a" * 40
OF_BEFORE = (
    f"INSERT INTO sender (address, nonce, fence) VALUES ('{A}', 8, 3)",
    f"INSERT INTO followed (contract, block, block_hash) VALUES ('{A}', 70, '0xb')",
    f"""INSERT INTO chain_transaction (key, number, state, "to", data, sender, nonce, raw, hash, error, create_time)
        VALUES ('root:1.1', 1, 'signed', '{A}', 'x', '{A}', 7, :raw, '0x1', '', '2026-01-02 03:04:05')""",
    f"""INSERT INTO chain_transaction (key, number, state, "to", data, error, create_time)
        VALUES ('root:2.1', 2, 'planned', '{A}', 'x', '', '2026-01-02 03:04:05')""",
)


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    yield database
    database.close()


def upgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def act(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database.write_now(act)


def test_what_was_sent_before_is_known_by_its_bytes_and_the_chain_is_read_again(database):
    upgrade(database, "0004")
    for statement in OF_BEFORE:
        database.write_now(lambda c, s=statement: c.execute(text(s), {"raw": b"raw"} if ":raw" in s else {}))
    upgrade(database, "head")
    assert [t.key for t in database.read_now(chain.unfinished)] == ["root:1.1", "root:2.1"]
    assert [(a.hash, a.raw) for a in database.read_now(lambda c: chain.attempts(c, A, 7))] == [("0x1", b"raw")]
    assert database.read_now(lambda c: chain.followed(c, A)) is None
    fence = database.write_now(lambda c: sender.take_pen(c, A, "one", 60))
    assert fence == 4
    with pytest.raises(LostPen):
        database.write_now(lambda c: sender.check_pen(c, A, 3))
    assert database.read_now(lambda c: sender.next_nonce(c, A, 0)) == 8
    assert database.read_now(lambda c: c.execute(METADATA.tables["chain_event"].select()).all()) == []


def test_leaves_of_before_are_in_pages_and_books_hold_what_they_held(database):
    upgrade(database, "0008")
    sealed = """INSERT INTO epoch (number, attempt, state, root, log_root, receipt_count, leaf_count, total,
        "transaction", activate_time, operation, create_time)
        VALUES (:n, 1, 'ACTIVE', '', '', 1, 1, 1, '', 0, '', '2026-01-02 03:04:05')"""
    leaf = "INSERT INTO leaf (epoch, account, cumulative, waiting) VALUES (:epoch, :account, :cumulative, :waiting)"
    leaves = {1: {f"0x{n * 7**50 % 2**160:040x}": n for n in range(1, 600)}, 2: {A: 2**127}}
    if not database.is_sqlite:
        leaf = leaf.replace(":cumulative, :waiting", "CAST(:cumulative AS numeric), CAST(:waiting AS numeric)")

    def before(connection):
        for epoch, amounts in leaves.items():
            connection.execute(text(sealed), {"n": epoch})
            rows = [{"account": who, "cumulative": str(amount), "waiting": "0"} for who, amount in amounts.items()]
            connection.execute(text(leaf), [row | {"epoch": epoch} for row in rows])
        late = {"epoch": 2, "account": "0x" + "b" * 40, "cumulative": "0", "waiting": str(2**130)}
        connection.execute(text(leaf), late)
        connection.execute(text(f"INSERT INTO balance (book, credits, debits) VALUES ('payable:{A}', 7, 5)"))

    database.write_now(before)
    upgrade(database, "head")
    for epoch, amounts in leaves.items():
        assert database.read_now(lambda c, e=epoch: leaf_pages.leaves(c, e)) == amounts
    assert database.read_now(lambda c: leaf_pages.waiting(c, 2)) == {"0x" + "b" * 40: 2**130}
    assert set(database.read_now(lambda c: leaf_pages.nodes(c, 1)).values()) == {None}
    assert database.read_now(lambda c: books.book(c, f"payable:{A}")) == (7, 5)


def test_the_chain_is_read_again_for_splits_of_before(database):
    upgrade(database, "0009")
    kept = f"""INSERT INTO chain_event (block, log_index, block_hash, journal, account)
        VALUES (7, 0, '0xb', 'deposit:0xb:0', '{A}')"""
    for statement in (OF_BEFORE[1], kept):
        database.write_now(lambda c, s=statement: c.execute(text(s)))
    upgrade(database, "head")
    assert database.read_now(lambda c: chain.followed(c, A)) is None
    assert database.read_now(lambda c: chain.read_time(c, A)) is None
    # What was journaled is known by its block, and not journaled again.
    assert database.read_now(lambda c: events.known(c, 0, 100)) == {(7, 0, "0xb")}
    database.write_now(lambda c: (chain.follow(c, A, 8, "0xc"), chain.note_read_time(c, A, 5)))
    assert database.read_now(lambda c: (chain.followed(c, A), chain.read_time(c, A))) == ((8, "0xc"), 5)


def written_before(database: Database, *amounts: str) -> None:
    """Journals of those amounts, which version 0010 let pass."""

    def act(connection):
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for number, amount in enumerate(amounts, 1):
            connection.exec_driver_sql(f"INSERT INTO posting VALUES ({number}, 0, 'payable:x', {amount})")
            row = f"({number}, 'claim', 'k{number}', 'p', 'c', NULL, '2026-01-02 03:04:05')"
            connection.exec_driver_sql(f"INSERT INTO journal VALUES {row}")

    database.write_now(act)


@pytest.mark.parametrize("amount", ("''", "'-'", "'00'", "'-0'", "'1' || printf('%084d', 0)", "'0' || x'00'"))
def test_an_amount_that_no_ledger_wrote_is_named_and_nothing_is_changed(tmp_path, amount):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    upgrade(database, "0010")
    written_before(database, "'0'", amount)
    with pytest.raises(SchemaError, match=r"line 0 of journals/2 has the amount .*Restore the database"):
        upgrade(database, "head")
    kept = "SELECT version_num, (SELECT count(*) FROM posting) FROM alembic_version"
    assert database.read_now(lambda c: c.exec_driver_sql(kept).one()) == ("0010", 2)
    database.close()


def test_amounts_that_the_ledger_wrote_stay(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    upgrade(database, "0010")
    row = "(1, 'claim', 'k', 'p', 'c', NULL, '2026-01-02 03:04:05')"

    def act(connection):
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for line, amount in enumerate((10**78 - 1, -(10**78) + 1, 7, -10, 3)):
            connection.exec_driver_sql(f"INSERT INTO posting VALUES (1, {line}, 'payable:x', '{amount}')")
        connection.exec_driver_sql(f"INSERT INTO journal VALUES {row}")

    database.write_now(act)
    upgrade(database, "head")
    assert database.read_now(lambda c: [line.amount for line in books.lines_of(c, ["payable:x"], None, 9)]) == [
        3,
        -10,
        7,
        -(10**78) + 1,
        10**78 - 1,
    ]
    database.close()


def test_up_to_when_receipts_were_read_stays_noted(database):
    upgrade(database, "0015")
    database.write_now(lambda c: c.execute(text("INSERT INTO receipts_read (source, time) VALUES ('log', 1000)")))
    upgrade(database, "head")
    assert [database.read_now(lambda c, t=t: receipts_read.until(c, t)) for t in (900, 2000)] == [900, 1000]
