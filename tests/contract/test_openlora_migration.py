"""A database of before keys had an end: what its payers' keys have sealed stays readable as long as it is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from openledger.trace_proto import time_text
from services.kit import sealing
from services.kit.database import Database
from services.kit.durable_log import DurableLog
from services.kit.payer_keys import PayerKeys
from services.kit.sealing import DataKey
from services.openlora import sealing as entries
from services.openlora import store
from services.openlora.__main__ import MIGRATIONS
from services.openlora.tracelog import TraceLog
from tests.unit.services.openlora.test_sealing import TRACE

SERVICE_KEY = bytes(32)
KEY = DataKey("k1", sealing.new_secret())
OF_BEFORE = "INSERT INTO payer_key (name, payer, wrapped, create_time) VALUES (:name, :payer, :wrapped, :time)"


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


async def test_a_key_that_sealed_for_long_is_not_taken_for_one_that_sealed_for_a_month(database):
    upgrade(database, "0003_sealed_traces")
    now = datetime.now(UTC)
    wrapped = sealing.wrap(SERVICE_KEY, KEY, TRACE.payer)
    row = {"name": KEY.name, "payer": TRACE.payer, "wrapped": wrapped, "time": now - timedelta(days=300)}
    if database.is_sqlite:
        row["time"] = f"{row['time']:%Y-%m-%d %H:%M:%S}"
    database.write_now(lambda c: c.execute(text(OF_BEFORE), row))
    upgrade(database, "head")
    log = DurableLog(database, store.METADATA, "traces")
    log.open()
    recent = replace(TRACE, end_time=time_text(now - timedelta(days=2)))
    await log.append("1" * 32, entries.seal(recent, "1" * 32, KEY))
    traces = TraceLog(database, log, PayerKeys(database, store.METADATA, SERVICE_KEY), most_behind=10)
    await traces.open()
    await traces.destroy_unused()
    assert await traces.given("1" * 32, TRACE.payer) == recent
    key = await PayerKeys(database, store.METADATA, SERVICE_KEY).of(TRACE.payer)
    assert key.name == KEY.name, "it seals for a month from now"
