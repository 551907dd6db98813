"""Records on their way into a datanet: put together in parts, signed for, sent until they are answered.

A part is some records in order under one declaration.  Its request id follows from what is signed and from what the
datanet takes: whoever sends the same again is answered as it was, and is judged anew once the rules are others.
Knows nothing of files and terminals.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import grpc

from openledger import records, signing
from openledger.client import ApiError, Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb

PART_RECORDS, PART_BYTES = 1_000, 8 * 2**20
"""Of one declaration; a single record may have more bytes."""
_SECONDS, _TRIES = 600.0, 6
_SPACE = uuid.UUID("0f9f2d0e-5b0c-4b56-9d1c-6d6f3f1d7a11")
"""In which request ids are made."""


class Text(Protocol):
    """What is given."""

    @property
    def fields(self) -> Mapping[str, str]:
        """Texts by field id."""

    @property
    def source(self) -> str:
        """Where they are from, for people; may be empty."""


T = TypeVar("T")
TextT = TypeVar("TextT", bound=Text)


def parts(texts: Iterable[TextT]) -> Iterator[list[TextT]]:
    """Records in order, as many together as one declaration is about."""
    part: list[TextT] = []
    size = 0
    for text in texts:
        more = sum(len(value.encode()) for value in (*text.fields.values(), text.source))
        if part and (len(part) == PART_RECORDS or size + more > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(text)
        size += more
    if part:
        yield part


def declared(wallet: Wallet, datanet: pb.Datanet, root: bytes, count: int, request_id: str) -> pb.Declaration:
    """A wallet's signed word about so many records with that content root."""
    typed = signing.declaration(
        datanet.name, wallet.address, root, count, datanet.licence, signing.STATEMENT, request_id
    )
    return pb.Declaration(
        contributor=wallet.account,
        content_root=root,
        record_count=count,
        licence=datanet.licence,
        statement=signing.STATEMENT,
        signature=wallet.sign(typed),
    )


def content_root(wallet: Wallet, part: Iterable[Text]) -> bytes:
    """What a wallet signs of a part's records: the same for the same records, in that order."""
    return records.content_root(records.canonical_bytes(wallet.address, dict(t.fields), t.source) for t in part)


def header(wallet: Wallet, datanet: pb.Datanet, part: Sequence[Text], request_id: str = "") -> pb.ContributionHeader:
    """A part's first message.  request_id: empty for the one that follows from the part."""
    root = content_root(wallet, part)
    request_id = request_id or _request_id(wallet, datanet, root)
    declaration = declared(wallet, datanet, root, len(part), request_id)
    return pb.ContributionHeader(datanet=datanet.name, declaration=declaration, request_id=request_id)


async def sent(
    client: Client, wallet: Wallet, datanet: pb.Datanet, part: Sequence[Text], request_id: str = ""
) -> pb.ContributeRecordsResponse:
    """A part's answer: signed for, and sent until it is answered.  request_id: as `header`.  Raises `ApiError`."""
    first = header(wallet, datanet, part, request_id)

    async def stream() -> AsyncIterator[pb.ContributeRecordsRequest]:
        yield pb.ContributeRecordsRequest(header=first)
        for text in part:
            yield pb.ContributeRecordsRequest(record=pb.RecordInput(fields=text.fields, source=text.source))

    answer: pb.ContributeRecordsResponse = await again(
        lambda: client.call(client.datanet.ContributeRecords, stream(), _SECONDS)
    )
    return answer


async def again(work: Callable[[], Awaitable[T]]) -> T:
    """Its result; tried again while the service is away, or says when to ask again and that is soon."""
    for left in reversed(range(_TRIES)):
        try:
            return await work()
        except ApiError as error:
            soon = error.retry_after is not None and error.retry_after <= 30
            if not left or not (soon or error.code is grpc.StatusCode.UNAVAILABLE):
                raise
            await asyncio.sleep(error.retry_after or 1)
    raise AssertionError


def _request_id(wallet: Wallet, datanet: pb.Datanet, root: bytes) -> str:
    # Fields and policy are what a record is judged by.
    rules = pb.Datanet(fields=datanet.fields, policy=datanet.policy).SerializeToString(deterministic=True).hex()
    said = f"{datanet.name}\n{wallet.address}\n{datanet.licence}\n{signing.STATEMENT}\n{root.hex()}\n{rules}"
    return str(uuid.uuid5(_SPACE, said))
