"""What an app passes with a question that it found records for: each record with the proof of whose it is.

The Datanet tells both to a record's contributor and to its datanet's owner; whoever they hand it to can pass it on.
How records are found is the app's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from openledger.client import Client
from openledger.datanet.v1 import datanet_pb2
from openledger.openlora.v1 import openlora_pb2


async def proven(client: Client, snapshot: str, records: Iterable[str]) -> list[openlora_pb2.ContextRecord]:
    """Records by name, as `Generate` and `Chat` take them, in the same order.

    client: of a caller who may read them.  snapshot: one that they are in.  Raises `ApiError` as the Datanet does.
    """
    return list(await asyncio.gather(*(_proven(client, snapshot, record) for record in records)))


async def _proven(client: Client, snapshot: str, name: str) -> openlora_pb2.ContextRecord:
    record = await client.call(client.datanet.GetRecord, datanet_pb2.GetRecordRequest(name=name))
    asked = datanet_pb2.GetInclusionProofRequest(snapshot=snapshot, record=name)
    proof = await client.call(client.datanet.GetInclusionProof, asked)
    return openlora_pb2.ContextRecord(
        snapshot=snapshot,
        leaf=proof.leaf,
        size=proof.size,
        path=proof.path,
        contributor=record.contributor,
        fields=record.fields,
        source=record.source,
        salt=proof.salt,
    )
