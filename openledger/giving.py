"""An upload of records under one signed declaration, as messages to the Datanet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from openledger import records, signing
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from openledger.client import Wallet


async def upload(
    wallet: Wallet, datanet: str, licence: str, given: Sequence[tuple[Mapping[str, str], str]], request_id: str
) -> AsyncIterator[pb.ContributeRecordsRequest]:
    """The header with the declaration, signed by the wallet, whose records they are; then each record.

    datanet: its name.  licence: the datanet's.  given: fields and source of each record.  The same request id with the
    same records is the same upload.
    """
    root = records.content_root(records.canonical_bytes(wallet.address, *record) for record in given)
    typed = signing.declaration(datanet, wallet.address, root, len(given), licence, signing.STATEMENT, request_id)
    declaration = pb.Declaration(
        contributor=wallet.account,
        content_root=root,
        record_count=len(given),
        licence=licence,
        statement=signing.STATEMENT,
        signature=wallet.sign(typed),
    )
    header = pb.ContributionHeader(datanet=datanet, declaration=declaration, request_id=request_id)
    yield pb.ContributeRecordsRequest(header=header)
    for fields, source in given:
        yield pb.ContributeRecordsRequest(record=pb.RecordInput(fields=fields, source=source))
