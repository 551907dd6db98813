"""Records of a Datanet that runs, as its tests look at them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, select

from openledger.client import Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb
from tests.datanet_world import ADA, SNAPSHOT, World, give

ACCEPTED, WITHDRAWN, ERASED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_WITHDRAWN, pb.RECORD_STATE_ERASED


async def get(client: Client, name: str) -> pb.Record:
    return await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=name))


async def included(client: Client, name: str, snapshot: str = SNAPSHOT) -> pb.InclusionProof:
    request = pb.GetInclusionProofRequest(snapshot=snapshot, record=name)
    return await client.call(client.datanet.GetInclusionProof, request)


async def given(here: World, *texts: str, by: Wallet = ADA, **more: Any) -> list[str]:
    """The names of records that are given now."""
    return [outcome.record for outcome in (await give(here, by, *texts, **more)).outcomes]


def table(here: World, which: Table) -> list[Any]:
    """The rows of a table in its database."""
    return list(here.database.read_now(lambda c: c.execute(select(which)).all()))
