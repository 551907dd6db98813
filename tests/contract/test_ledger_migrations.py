"""Databases of earlier versions: what was on its way goes on, and what was followed is known by its blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import services.ledger
from services.kit.database import Database
from services.ledger.store import chain, sender
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
