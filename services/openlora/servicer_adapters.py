"""The RPCs about models: what can be asked, how ready it is, for how much; adapters that are brought, and pinned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc

from openledger import names
from openledger.openlora.v1 import openlora_pb2
from services.kit.auth import ACCOUNTS, PUBLIC
from services.kit.errors import invalid
from services.openlora.adapters import BASE, State, Status
from services.openlora.desk import Desk

ACCESS = {
    "ListModels": PUBLIC,
    "ImportAdapter": ACCOUNTS,
    "GetAdapter": PUBLIC,
    "ListAdapters": PUBLIC,
    "PinAdapter": ACCOUNTS,
    "UnpinAdapter": ACCOUNTS,
}
_PAGE = 100
_STATES = {
    State.LOADING: openlora_pb2.ADAPTER_STATE_DOWNLOADING,
    State.READY: openlora_pb2.ADAPTER_STATE_READY,
    State.FAILED: openlora_pb2.ADAPTER_STATE_FAILED,
    State.EVICTED: openlora_pb2.ADAPTER_STATE_EVICTED,
}


class AdapterMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._adapters, self._prices, self._base = desk.adapters, desk.prices, desk.base
        self._imports, self._pins = desk.imports, desk.pins

    async def ListModels(
        self, request: openlora_pb2.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ListModelsResponse:
        every = [Status(BASE, State.READY), *self._adapters.statuses()]
        page, token = _page(every, request.page_size or _PAGE, request.page_token)
        return openlora_pb2.ListModelsResponse(models=map(self._model, page), next_page_token=token)

    async def ImportAdapter(
        self, requests: AsyncIterator[openlora_pb2.ImportAdapterRequest], context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Adapter:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "manifest":
            raise invalid("MANIFEST_FIRST", "the first message must be the adapter's manifest", "manifest")
        lineage = await self._imports.take(first.manifest, _pieces(requests))
        return self._adapter(await self._adapters.note(lineage.revision))

    async def GetAdapter(
        self, request: openlora_pb2.GetAdapterRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Adapter:
        return self._adapter(await self._adapters.status(request.name))

    async def ListAdapters(
        self, request: openlora_pb2.ListAdaptersRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ListAdaptersResponse:
        page, token = _page(list(self._adapters.statuses()), request.page_size or _PAGE, request.page_token)
        return openlora_pb2.ListAdaptersResponse(adapters=map(self._adapter, page), next_page_token=token)

    async def PinAdapter(
        self, request: openlora_pb2.PinAdapterRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Adapter:
        self._pins.must_be_operator()
        await self._adapters.note(request.name)
        await self._pins.pin(request.name)
        return self._adapter(await self._adapters.status(request.name))

    async def UnpinAdapter(
        self, request: openlora_pb2.UnpinAdapterRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.Adapter:
        self._pins.must_be_operator()
        await self._pins.unpin(request.name)
        return self._adapter(await self._adapters.status(request.name))

    def _adapter(self, status: Status) -> openlora_pb2.Adapter:
        about = status.about
        assert about is not None, "only the base model is no adapter"
        message = openlora_pb2.Adapter(
            name=status.name,
            state=_STATES[status.state],
            message=status.message,
            in_memory=status.state is State.READY,
            on_disk=status.name.rpartition("/")[2] in self._adapters.shelf,
            pinned=status.name in self._adapters.pinned,
            size_bytes=about.size,
            owner=names.account(about.owner),
            signer=names.account(about.signer) if about.signer else "",
            imported=about.imported,
        )
        message.state_time.FromDatetime(status.since)
        return message

    def _model(self, status: Status) -> openlora_pb2.Model:
        price = self._prices.of(status.name)
        return openlora_pb2.Model(
            name=status.name,
            base=self._base,
            state=_STATES[status.state],
            message=status.message,
            price_per_1k_in=str(price.per_1k_in),
            price_per_1k_out=str(price.per_1k_out),
            platform_fee=str(price.platform_fee),
        )


async def _pieces(
    requests: AsyncIterator[openlora_pb2.ImportAdapterRequest],
) -> AsyncIterator[tuple[str, bytes]]:
    async for request in requests:
        if request.WhichOneof("part") != "piece":
            raise invalid("MANIFEST_FIRST", "after the manifest, every message must be a piece of a file", "piece")
        yield request.piece.file, request.piece.data


def _page(items: Sequence[Status], size: int, token: str) -> tuple[Sequence[Status], str]:
    """A page of them; the token is the name of the last one before it."""
    known = [item.name for item in items]
    if token and token not in known:
        raise invalid("BAD_PAGE_TOKEN", "page_token is not one that this list gave out", "page_token")
    first = known.index(token) + 1 if token else 0
    page = items[first : first + size]
    return page, page[-1].name if first + size < len(items) else ""
