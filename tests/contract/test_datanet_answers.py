"""A request that is served elsewhere while it is served here: one answer, and nothing half done is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, select

from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.__main__ import MIGRATIONS
from services.datanet.answers import Answers
from services.datanet.tables import FIRST
from services.kit import call
from services.kit.auth import Principal
from services.kit.database import Database
from services.kit.errors import Fault, invalid

SERVED = pb.Record(name="datanets/terms/records/1")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, erases=True)
    found.migrate(MIGRATIONS)
    yield found
    found.close()


def fails(connection):
    connection.execute(insert(FIRST).values(fingerprint=b"f", record="datanets/terms/records/2"))
    raise invalid("REQUEST_ID_REUSED", "the other one was faster")


@pytest.mark.parametrize("elsewhere", (SERVED, None))
async def test_what_a_failed_transaction_wrote_is_not_kept(database, monkeypatch, elsewhere):
    monkeypatch.setattr(call, "principal", lambda: Principal("0x1"))
    answers, recalled = Answers(database), iter((None, elsewhere))
    monkeypatch.setattr(answers.idempotency, "recall", lambda *_: next(recalled))
    once = answers.once("GetRecord", "r", pb.GetRecordRequest(), pb.Record, fails)
    if elsewhere is None:
        with pytest.raises(Fault, match="faster"):
            await once
    else:
        assert await once == SERVED
    assert database.read_now(lambda c: c.execute(select(FIRST)).all()) == []
