"""The Datanet over real gRPC: what may not come in, and how that is said."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from openledger.client import Client, to_api_error
from openledger.datanet.v1 import datanet_pb2 as pb
from services.kit.testing import endpoints
from tests.datanet_world import (
    ADA,
    BOB,
    OWNER,
    give,
    give_badly,
    listed,
    new_id,
    open_datanet,
    refused,
    send,
    upload,
    world,
)

ACCEPTED, REJECTED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_REJECTED


async def test_an_unsigned_declaration_is_refused(here):
    messages = upload(ADA, ["one"])
    messages[0].header.declaration.signature = b""
    error = await give_badly(here, ADA, messages)
    assert (error.reason, "signature: is required" in error.message) == ("INVALID_FIELD", True)
    assert await listed(here, ADA) == []


async def test_a_signature_that_is_none_is_refused(here):
    messages = upload(ADA, ["one"])
    messages[0].header.declaration.signature = b"\x07" * 12
    assert (await give_badly(here, ADA, messages)).reason == "BAD_SIGNATURE"


async def test_another_wallets_signature_is_refused(here):
    error = await give_badly(here, ADA, upload(ADA, ["one"], signer=BOB))
    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_SIGNER")
    assert error.metadata["signer"] == BOB.address
    assert await listed(here, ADA) == []


async def test_nobody_gives_in_anothers_name(here):
    assert (await give_badly(here, BOB, upload(ADA, ["one"]))).reason == "NOT_YOURS"
    async with Client(endpoints(datanet=here.where)) as anyone:
        assert (await refused(send(anyone, upload(ADA, ["one"])))).reason == "SIGN_IN"


@pytest.mark.parametrize(
    "sent", (["one"], ["two", "one"], ["one", "two", "three"], ["one", "too"]), ids=("fewer", "order", "more", "other")
)
async def test_what_was_not_declared_is_not_taken(here, sent):
    messages = upload(ADA, ["one", "two"])[:1] + upload(ADA, sent)[1:]
    error = await give_badly(here, ADA, messages)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DECLARATION_MISMATCH")
    assert await listed(here, ADA) == []


async def test_a_declaration_under_another_licence_is_refused(here):
    assert (await give_badly(here, ADA, upload(ADA, ["one"], licence="MIT"))).reason == "DECLARATION_MISMATCH"


async def test_a_datanet_that_is_not_there_is_named(here):
    assert (await give_badly(here, ADA, upload(ADA, ["one"], datanet="datanets/none"))).reason == "DATANET_NOT_FOUND"


async def test_an_upload_has_one_header_and_it_comes_first(here):
    messages = upload(ADA, ["one", "two"])
    assert (await give_badly(here, ADA, messages[1:])).reason == "HEADER_FIRST"
    assert (await give_badly(here, ADA, [])).reason == "HEADER_FIRST"
    assert (await give_badly(here, ADA, [messages[0], *messages])).reason == "RECORDS_AFTER_HEADER"
    assert (await give_badly(here, ADA, [messages[0], pb.ContributeRecordsRequest()])).reason == "RECORDS_AFTER_HEADER"


async def test_bad_records_are_told_apart_and_do_not_spoil_the_others(here):
    answer = await give(here, ADA, "good", "x" * 3000, "nul \x00 inside", " \n ", "good too", "good\n")
    assert [(o.state, o.reason) for o in answer.outcomes] == [
        (ACCEPTED, ""),
        (REJECTED, "RECORD_TOO_LARGE"),
        (REJECTED, "CONTROL_CHARACTER"),
        (REJECTED, "RECORD_EMPTY"),
        (ACCEPTED, ""),
        (REJECTED, "DUPLICATE"),
    ]
    assert "at most 2000 are taken" in answer.outcomes[1].message
    assert answer.outcomes[0].record in answer.outcomes[5].message
    assert (answer.accepted, answer.rejected) == (2, 4)
    assert [r.fields["text"] for r in await listed(here, ADA)] == ["good", "good too"]


async def test_bytes_that_are_no_text_are_refused_and_nothing_is_taken(here, ledger):
    good = upload(ADA, ["good", "MARK"])
    raw = [message.SerializeToString().replace(b"MARK", b"\xff\xfe\xc3\x28") for message in good]

    async def stream() -> AsyncIterator[bytes]:
        for message in raw:
            yield message

    metadata = (("authorization", f"Bearer {ledger.issuer.token(ADA)}"),)
    async with grpc.aio.insecure_channel(here.where) as channel:
        method = channel.stream_unary("/openledger.datanet.v1.DatanetService/ContributeRecords")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(stream(), timeout=20, metadata=metadata)
    error = to_api_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE_REQUEST")
    assert await listed(here, ADA) == []


async def test_an_upload_is_bounded(ledger, ledger_at, tmp_path):
    limits = {"max_upload_records": 3, "max_upload_bytes": 1024, "max_uploads_bytes": 2**16}
    async with world(tmp_path, ledger, ledger_at, **limits) as here, here.as_(OWNER) as owner:
        await open_datanet(owner)
        assert (await refused(send(owner, upload(OWNER, list("abcd"))))).reason == "UPLOAD_TOO_LARGE"
        assert (await refused(send(owner, upload(OWNER, ["x" * 700, "y" * 700])))).reason == "UPLOAD_TOO_LARGE"
        assert (await send(owner, upload(OWNER, ["x" * 700]))).accepted == 1


async def test_a_request_id_stands_for_one_upload(here):
    one = new_id()
    first = await give(here, ADA, "one", "two", request_id=one)
    assert await give(here, ADA, "one", "two", request_id=one) == first
    assert (await give_badly(here, ADA, upload(ADA, ["other"], one))).reason == "REQUEST_ID_REUSED"
    old_header_new_body = upload(ADA, ["one", "two"], one)[:1] + upload(ADA, ["one", "three"], one)[1:]
    assert (await give_badly(here, ADA, old_header_new_body)).reason == "REQUEST_ID_REUSED"
    assert len(await listed(here, ADA)) == 2
    assert (await give(here, BOB, "bob's own", request_id=one)).accepted == 1


async def test_a_duplicate_names_whose_record_came_first_in_any_datanet(here):
    first = (await give(here, ADA, "one text")).outcomes[0].record
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "words", fields=[pb.Field(id="word", required=True)])
    answer = await give(here, BOB, "  one   text", "another", datanet="datanets/words", field_id="word")
    assert (answer.outcomes[0].state, answer.outcomes[0].reason) == (REJECTED, "DUPLICATE")
    assert answer.outcomes[0].record == ""
    assert first in answer.outcomes[0].message
    assert answer.outcomes[1].state == ACCEPTED


async def test_outcomes_arrive_however_many_there_are(ledger, ledger_at, tmp_path):
    # They were made true before they are sent: more of them than a request may have bytes must not be held back.
    async with world(tmp_path, ledger, ledger_at, max_record_bytes=256, max_message_bytes=2**16) as small:
        async with small.as_(OWNER) as owner:
            await open_datanet(owner)
        outcomes = (await give(small, ADA, *(f"{n}" for n in range(1500)))).outcomes
    assert len(outcomes) == 1500
    assert sum(outcome.ByteSize() for outcome in outcomes) > 2**16
