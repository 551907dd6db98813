"""Finding datanets and records over real gRPC."""

from __future__ import annotations

from typing import Any

from openledger.client import Client, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import search
from services.kit.testing import endpoints
from tests.datanet_world import ADA, BOB, DATANET, OWNER, PRIVATE, World, give, open_datanet, refused


async def found(here: World, wallet: Wallet, query: str, size: int = 0) -> list[str]:
    """The texts with these words, of all pages."""
    texts: list[str] = []
    request = pb.SearchRecordsRequest(parent=DATANET, query=query, page_size=size)
    async with here.as_(wallet) as client:
        while True:
            page = await client.call(client.datanet.SearchRecords, request)
            texts += [record.fields["text"] for record in page.records]
            request.page_token = page.next_page_token
            if not request.page_token:
                return texts


async def test_one_finds_ones_own_records_and_the_owner_finds_all(here):
    await give(here, ADA, "Fieber und Husten", "Husten", "fieberfrei")
    await give(here, BOB, "hohes FIEBER")
    assert await found(here, ADA, "fieber") == ["Fieber und Husten", "fieberfrei"]
    assert await found(here, BOB, "fieber") == ["hohes FIEBER"]
    assert await found(here, OWNER, "Fieber") == ["Fieber und Husten", "fieberfrei", "hohes FIEBER"]
    assert await found(here, OWNER, "husten fieber") == ["Fieber und Husten"]
    assert await found(here, OWNER, "masern") == []


async def test_pages_go_on_where_one_call_stopped_looking(here, monkeypatch):
    monkeypatch.setattr(search, "AT_ONCE", 7)
    await give(here, ADA, *(f"text {i} {'needle' if i % 10 == 5 else ''}" for i in range(40)))
    assert await found(here, ADA, "needle", size=1) == [f"text {i} needle" for i in (5, 15, 25, 35)]
    async with here.as_(ADA) as ada:
        request = pb.SearchRecordsRequest(parent=DATANET, query="needle", page_size=1)
        token = (await ada.call(ada.datanet.SearchRecords, request)).next_page_token
        other = pb.SearchRecordsRequest(parent=DATANET, query="text", page_token=token)
        assert (await refused(ada.call(ada.datanet.SearchRecords, other))).reason == "BAD_PAGE_TOKEN"
        long = pb.SearchRecordsRequest(parent=DATANET, query="a b c d e f g h i")
        assert (await refused(ada.call(ada.datanet.SearchRecords, long))).reason == "INVALID_FIELD"
    async with Client(endpoints(datanet=here.where)) as anyone:
        assert (await refused(anyone.call(anyone.datanet.SearchRecords, request))).reason == "SIGN_IN"


async def names(client: Client, **wanted: Any) -> list[str]:
    page = await client.call(client.datanet.ListDatanets, pb.ListDatanetsRequest(**wanted))
    return [datanet.name.removeprefix("datanets/") for datanet in page.datanets]


async def test_datanets_are_found_by_words_tags_and_kind(here):
    async with here.as_(BOB) as bob, Client(endpoints(datanet=here.where)) as anyone:
        await open_datanet(bob, "rare-diseases", description="What **they** mean.", tags=["medicine", "hpo"])
        await open_datanet(bob, "hidden", tags=["medicine"], visibility=PRIVATE)
        assert await names(anyone, filter="RARE mean") == ["rare-diseases"]
        assert await names(anyone, tags=["medicine"]) == ["rare-diseases"]
        assert await names(bob, tags=["medicine"]) == ["hidden", "rare-diseases"]
        assert await names(bob, tags=["medicine", "hpo"]) == ["rare-diseases"]
        assert await names(bob, mine=True) == ["hidden", "rare-diseases"]
        assert await names(anyone, kind=pb.KIND_IMAGE) == []
        assert await names(anyone, kind=pb.KIND_TEXT) == ["rare-diseases", "terms"]
        assert (await refused(names(anyone, mine=True))).reason == "SIGN_IN"
        assert (await refused(names(anyone, kind=9))).reason == "INVALID_FIELD"
        assert (await refused(names(anyone, tags=["x" * 64]))).reason == "INVALID_FIELD"
        request = pb.ListDatanetsRequest(page_size=1, filter="e")
        page = await anyone.call(anyone.datanet.ListDatanets, request)
        assert [datanet.name for datanet in page.datanets] == ["datanets/rare-diseases"]
        assert await names(anyone, filter="e", page_token=page.next_page_token) == ["terms"]
        other = names(anyone, filter="x", page_token=page.next_page_token)
        assert (await refused(other)).reason == "BAD_PAGE_TOKEN"
