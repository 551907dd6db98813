"""Question and answer are their payer's: nothing on disk or for strangers, all for the owner, until it is forgotten."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from openledger import receipt as receipts
from openledger.attribution.v1 import attribution_pb2 as pb
from openledger.client import ApiError, Client, Wallet
from openledger.trace_proto import time_text
from openledger.verify import verify_receipt
from services.attribution.store_traces import SEALED
from services.kit.database import Database
from services.kit.server import StartError
from services.kit.testing import as_service
from tests.attribution_world import OPERATOR, PAYER, STRANGER, attribution, dead_letters, get, read, revised
from tests.integration.attribution.test_explain import explain

STOP = "a text that only the question has"
WITHOUT_TRACE = {"trace", "agreement", "measurement"}


@asynccontextmanager
async def answered(around, *traces, **more):
    """The service, with the receipts of those traces; gives its address."""
    around.peers.add(*traces)
    async with attribution(around, **more) as (where, _), as_service("ledger", attribution=where) as ledger:
        await read(ledger, len(around.peers.messages))
        yield where


def secret(around, number: int = 1, **changes):
    return around.artifacts.salted(number, sampling={"max_tokens": 64, "temperature": "0", "stop": [STOP]}, **changes)


async def trace_of(around, who, where, name="r1") -> bytes:
    async with around.client(who, where) as client:
        request = pb.GetReceiptTraceRequest(name=f"receipts/{name}")
        return (await client.call(client.attribution.GetReceiptTrace, request)).document


async def refused(around, who, where, name="r1") -> ApiError:
    with pytest.raises(ApiError) as caught:
        await trace_of(around, who, where, name)
    return caught.value


async def forget(around, who, where, before=None) -> None:
    request = pb.ForgetAnswersRequest()
    if before is not None:
        request.before_time.FromDatetime(before)
    async with around.client(who, where) as client:
        await client.call(client.attribution.ForgetAnswers, request)


def on_disk(*folders) -> bytes:
    """Everything: databases, their write-ahead logs, artifacts."""
    return b"\n".join(file.read_bytes() for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())


async def test_no_text_is_in_any_file_nor_in_what_strangers_are_told(around):
    trace = secret(around)
    of_before = around.artifacts.trace(2, sampling=trace.sampling)
    tokens = [",".join(map(str, each[:6])).encode() for each in (trace.prompt_token_ids, trace.completion_token_ids)]
    marks = [*tokens, STOP.encode(), b"prompt_token_ids", trace.salt.encode()]
    assert all(mark in trace.dumps() for mark in marks)
    async with answered(around, trace, of_before) as where:
        lively = on_disk(around.folder / "attribution", around.artifacts.folder)
        async with as_service("ledger", attribution=where) as ledger:
            page = await ledger.call(ledger.attribution.ReadReceipts, pb.ReadReceiptsRequest())
        told = [page.SerializeToString(), (await get(around, PAYER, where, "r1")).SerializeToString()]
    closed = on_disk(around.folder / "attribution", around.artifacts.folder)
    for data in (lively, closed):
        assert trace.digest().encode() in data, "its receipt is there"
        assert trace.dumps() not in data
    for data in (lively, closed, *told):
        for mark in marks:
            assert mark not in data
    assert not around.artifacts.store.has(trace.digest())


async def test_a_receipt_names_nobody_beyond_the_models_contributors_and_those_it_pays(around):
    async with answered(around, secret(around)) as where:
        document = receipts.parse((await get(around, PAYER, where, "r1")).document)
    public = {*around.artifacts.lineage.contributors, document.developer, document.platform, document.signer}
    named = set(re.findall(r"0x[0-9a-f]{40}\b", document.dumps().decode()))
    assert named - {document.payer.removeprefix("accounts/")} <= public


async def test_the_owner_has_all_and_checks_all_and_a_stranger_what_is_public(around):
    trace = secret(around)
    async with answered(around, trace) as where:
        receipt = (await get(around, PAYER, where, "r1")).document
        for who in (PAYER, OPERATOR):
            assert await trace_of(around, who, where) == trace.dumps()
    store, base = around.artifacts.store, around.artifacts.adapter.base
    assert verify_receipt(receipt, store, base, trace=trace.dumps()).ok
    public = verify_receipt(receipt, store, base)
    assert public.withheld
    assert {check.name for check in public.unchecked} == WITHOUT_TRACE


async def test_nobody_else_is_told_what_was_asked(around):
    owner = Wallet.create()
    trace = secret(around, adapter=revised(around.artifacts, owner=owner.address))
    async with answered(around, trace) as where:
        assert (await get(around, owner, where, "r1")).response == "responses/r1", "it is paid"
        paid = await refused(around, owner, where)
        stranger, nothing = await refused(around, STRANGER, where), await refused(around, STRANGER, where, "r9")
        async with as_service("ledger", attribution=where) as ledger:
            wanted, forgetting = pb.GetReceiptTraceRequest(name="receipts/r1"), pb.ForgetAnswersRequest()
            for name, request in (("GetReceiptTrace", wanted), ("ForgetAnswers", forgetting)):
                with pytest.raises(ApiError, match="NOT_FOR_THIS_CALLER"):
                    await ledger.call(getattr(ledger.attribution, name), request)
                async with Client(ledger.endpoints) as nobody:
                    with pytest.raises(ApiError, match="SIGN_IN"):
                        await nobody.call(getattr(nobody.attribution, name), request)
        assert await trace_of(around, PAYER, where) == trace.dumps()
    assert (paid.reason, paid.code) == ("PAYER_ONLY", grpc.StatusCode.PERMISSION_DENIED)
    assert {(error.reason, error.code) for error in (stranger, nothing)} == {
        ("RECEIPT_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    }


async def test_what_its_payer_publishes_is_for_everybody_and_stays(around):
    trace = secret(around, published=True)
    async with answered(around, trace) as where:
        receipt = (await get(around, PAYER, where, "r1")).document
        await forget(around, PAYER, where)
        assert await trace_of(around, PAYER, where) == trace.dumps()
    assert around.artifacts.store.get(trace.digest()) == trace.dumps()
    assert verify_receipt(receipt, around.artifacts.store, around.artifacts.adapter.base).ok


async def test_what_is_forgotten_is_unreadable_for_all_in_words_and_what_it_pays_stands(around):
    other = STRANGER
    young = time_text(datetime.now(UTC) + timedelta(hours=1))
    theirs = secret(around, 2, payer=other.account)
    async with answered(around, secret(around), theirs) as where:
        before = (await get(around, PAYER, where, "r1")).document
        await forget(around, PAYER, where)
        late, new = secret(around, 3), secret(around, 4, end_time=young)
        around.peers.add(late, new)
        assert await get(around, PAYER, where, "r4", wait=20)
        for who in (PAYER, OPERATOR):
            for name in ("r1", "r3"):
                error = await refused(around, who, where, name)
                assert (error.reason, error.code) == ("TRACE_GONE", grpc.StatusCode.FAILED_PRECONDITION)
                assert "made unreadable" in error.message
                assert "What was paid stands" in error.message
        assert await trace_of(around, PAYER, where, "r4") == new.dumps()
        assert await trace_of(around, other, where, "r2") == theirs.dumps()
        told = await explain(around, PAYER, where)
        assert (told.spans_state, told.answer_tokens) == (pb.SPANS_STATE_FORGOTTEN, 0)
        assert "not kept any more" in told.spans_words
        assert told.shares
        assert (await get(around, PAYER, where, "r1")).document == before
    report = verify_receipt(before, around.artifacts.store, around.artifacts.adapter.base)
    assert report.withheld
    assert {check.name for check in report.unchecked} == WITHOUT_TRACE


async def test_nothing_that_opens_what_is_forgotten_is_left_on_disk(around):
    async with answered(around, secret(around)) as where:
        database = Database(around.config().database)
        [row] = database.read_now(lambda c: c.execute(SEALED.select()).all())
        [wrapped] = database.read_now(lambda c: c.exec_driver_sql("SELECT wrapped FROM payer_key").scalars().all())
        database.close()
        await forget(around, PAYER, where)
        lively = on_disk(around.folder / "attribution")
    for data in (lively, on_disk(around.folder / "attribution")):
        assert row.box.encode() not in data
        assert wrapped.encode() not in data


async def test_a_time_that_is_to_come_is_refused(around):
    async with answered(around, secret(around)) as where:
        with pytest.raises(ApiError) as caught:
            await forget(around, PAYER, where, datetime.now(UTC) + timedelta(hours=1))
        assert (caught.value.reason, caught.value.code) == ("BAD_TIME", grpc.StatusCode.INVALID_ARGUMENT)
        assert await trace_of(around, PAYER, where)
        async with around.client(PAYER, where) as client:
            request = pb.ForgetAnswersRequest()
            request.before_time.seconds = 2**62
            with pytest.raises(ApiError, match=r"BAD_TIME|INVALID_FIELD"):
                await client.call(client.attribution.ForgetAnswers, request)


async def test_what_is_old_is_let_go_and_said_to_be(around):
    async with answered(around, secret(around), trace_days=36_500) as where:
        assert await trace_of(around, PAYER, where)
    async with attribution(around, trace_days=30) as (where, _):
        error = await asyncio.wait_for(until_refused(around, where), 10)
    assert error.reason == "TRACE_GONE"
    assert "30 days" in error.message


async def until_refused(around, where) -> ApiError:
    while True:
        try:
            await trace_of(around, PAYER, where)
        except ApiError as error:
            return error
        await asyncio.sleep(0.05)


async def test_what_could_not_be_attributed_is_its_payers_and_operators_too(around):
    empty = around.artifacts.salted(1, completion_token_ids=())
    around.peers.add(empty)
    async with attribution(around) as (where, _):
        await dead_letters(around, where, 1)
        for who in (PAYER, OPERATOR):
            assert await trace_of(around, who, where) == empty.dumps()
        assert (await refused(around, STRANGER, where)).reason == "RECEIPT_NOT_FOUND"


async def test_what_was_damaged_is_said_to_be(around):
    async with answered(around, secret(around)) as where:
        database = Database(around.config().database)
        database.write_now(lambda c: c.execute(SEALED.update().values(box="AAAA" + SEALED.c.box)))
        database.close()
        error = await refused(around, PAYER, where)
        assert (error.reason, error.code) == ("TRACE_DAMAGED", grpc.StatusCode.DATA_LOSS)


async def test_without_its_key_the_service_does_not_start_and_makes_no_other(around):
    key = around.folder / "attribution" / "traces.key"
    async with answered(around, secret(around)):
        text = key.read_bytes()
    key.unlink()
    with pytest.raises(StartError, match="Put it back"):
        async with attribution(around):
            pass
    assert not key.exists()
    key.write_bytes(text)
    key.chmod(0o600)
    async with attribution(around) as (where, _):
        assert await trace_of(around, PAYER, where)
