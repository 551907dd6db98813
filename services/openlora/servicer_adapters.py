"""The RPCs about models: what can be asked, how ready it is, and for how much."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from openledger.openlora.v1 import openlora_pb2
from services.kit.auth import PUBLIC
from services.kit.errors import invalid
from services.openlora.adapters import BASE, State, Status
from services.openlora.desk import Desk

ACCESS = {"ListModels": PUBLIC}
_PAGE = 100
_STATES = {
    State.LOADING: openlora_pb2.ADAPTER_STATE_DOWNLOADING,
    State.READY: openlora_pb2.ADAPTER_STATE_READY,
    State.FAILED: openlora_pb2.ADAPTER_STATE_FAILED,
}


class AdapterMethods:
    """Part of the servicer."""

    def __init__(self, desk: Desk) -> None:
        self._adapters, self._prices, self._base = desk.adapters, desk.prices, desk.base

    async def ListModels(
        self, request: openlora_pb2.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> openlora_pb2.ListModelsResponse:
        models = [self._model(Status(BASE, State.READY)), *(self._model(s) for s in self._adapters.statuses())]
        page, token = _page(models, request.page_size or _PAGE, request.page_token)
        return openlora_pb2.ListModelsResponse(models=page, next_page_token=token)

    def _model(self, status: Status) -> openlora_pb2.Model:
        price = self._prices.of(status.name)
        return openlora_pb2.Model(
            name=status.name,
            base=self._base,
            state=_STATES[status.state],
            message="" if status.fault is None else status.fault.message,
            price_per_1k_in=str(price.per_1k_in),
            price_per_1k_out=str(price.per_1k_out),
            platform_fee=str(price.platform_fee),
        )


def _page(models: Sequence[openlora_pb2.Model], size: int, token: str) -> tuple[Sequence[openlora_pb2.Model], str]:
    """A page of models; the token is the name of the last one before it."""
    known = [model.name for model in models]
    if token and token not in known:
        raise invalid("BAD_PAGE_TOKEN", "page_token is not one that this list gave out", "page_token")
    first = known.index(token) + 1 if token else 0
    page = models[first : first + size]
    return page, page[-1].name if first + size < len(models) else ""
