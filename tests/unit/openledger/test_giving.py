"""What goes under one declaration, and what is tried again."""

from __future__ import annotations

import grpc
import pytest

from openledger import giving
from openledger.client import ApiError, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb

ADA, BOB = (Wallet("0x" + digits * 32) for digits in ("11", "22"))
TERMS = pb.Datanet(name="datanets/terms", licence="MIT")


def drafts(*texts: str) -> list[pb.ParsedRecord]:
    return [pb.ParsedRecord(index=index, fields={"text": text}, source="a") for index, text in enumerate(texts)]


def test_parts_are_bounded_in_records_and_bytes_and_keep_the_order(monkeypatch):
    monkeypatch.setattr(giving, "PART_RECORDS", 3)
    monkeypatch.setattr(giving, "PART_BYTES", 200)
    given = drafts("a", "b", "c", "d", "x" * 500, "e", "y" * 150, "z" * 150)
    made = list(giving.parts(given))
    assert [[draft.index for draft in part] for part in made] == [[0, 1, 2], [3], [4], [5, 6], [7]]
    assert list(giving.parts([])) == []


def test_a_request_id_follows_from_what_is_signed_and_what_is_taken_and_from_nothing_else():
    def request_id(texts=("one", "two"), wallet=ADA, **changes):
        into = pb.Datanet()
        into.CopyFrom(TERMS)
        into.MergeFrom(pb.Datanet(**changes))
        return giving.header(wallet, into, drafts(*texts)).request_id

    assert request_id() == request_id() == request_id(record_count=7, description="x", etag="y")
    others = (
        request_id(("one",)),
        request_id(wallet=BOB),
        request_id(name="datanets/other"),
        request_id(licence="CC-BY-4.0"),
        request_id(policy=pb.Policy(max_chars=9)),
        request_id(fields=[pb.Field(id="more")]),
    )
    assert len({request_id(), *others}) == 7


@pytest.mark.parametrize(
    ("code", "retry", "tries"),
    (
        (grpc.StatusCode.UNAVAILABLE, None, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 86_400.0, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, None, 1),
    ),
)
async def test_what_passes_is_waited_for_and_what_does_not_is_not(monkeypatch, code, retry, tries):
    count, waited = 0, []

    async def sleep(seconds):
        waited.append(seconds)

    async def work():
        nonlocal count
        count += 1
        if count < 3:
            raise ApiError(code, "WHY", "words", {}, retry)
        return "done"

    monkeypatch.setattr(giving.asyncio, "sleep", sleep)
    if tries == 1:
        with pytest.raises(ApiError):
            await giving.again(work)
    else:
        assert await giving.again(work) == "done"
    assert (count, waited) == (tries, [retry or 1] * (tries - 1))


async def test_it_is_not_tried_for_ever(monkeypatch):
    async def sleep(seconds):
        pass

    async def away():
        raise ApiError(grpc.StatusCode.UNAVAILABLE, "UNREACHABLE", "words", {}, None)

    monkeypatch.setattr(giving.asyncio, "sleep", sleep)
    with pytest.raises(ApiError, match="UNREACHABLE"):
        await giving.again(away)
