"""Receipts by the service's own path: read from Attribution over gRPC, admitted, and booked with the stream's offset.

Attribution is a server in this process that has its pages ready: what it costs to make receipts is measured elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from sqlalchemy import Connection

from bench.ledger import booking, signatures
from openledger.attribution.v1 import attribution_pb2, attribution_pb2_grpc
from openledger.client import Client, Endpoints
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger.admit import Terms
from services.ledger.book import BOOKED
from services.ledger.consume import BATCH, PAGE, Receipts
from services.ledger.debts import Debts
from services.ledger.pen import Pen
from services.ledger.split_book import SplitBook
from services.ledger.store import chain

NOWHERE = "127.0.0.1:1"


class _Attribution(attribution_pb2_grpc.AttributionServiceServicer):
    """A log of receipts."""

    def __init__(self, documents: list[bytes]) -> None:
        self._entries = [
            attribution_pb2.ReceiptEntry(offset=offset, receipt=attribution_pb2.Receipt(document=document))
            for offset, document in enumerate(documents, 1)
        ]

    async def ReadReceipts(self, request: Any, context: Any) -> attribution_pb2.ReadReceiptsResponse:
        page = self._entries[request.after_offset : request.after_offset + request.max_entries]
        return attribution_pb2.ReadReceiptsResponse(entries=page, high_watermark=len(self._entries), log_epoch="one")


def measure(database: Database, count: int) -> dict[str, Any]:
    """Take `count` receipts in, which all wait already."""
    leases = database.write_now(booking.begin)
    documents, terms = signatures.signed([booking.receipt(number, leases) for number in range(count)])
    return asyncio.run(_measure(database, documents, terms))


def _followed(connection: Connection) -> None:
    """As if the chain had just been read: that is another measurement."""
    chain.follow(connection, NOWHERE, 1, "0x1")
    chain.note_read_time(connection, NOWHERE, int(time.time()))


async def _measure(database: Database, documents: list[bytes], terms: Terms) -> dict[str, Any]:
    server = grpc.aio.server()
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(_Attribution(documents), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    endpoints = Endpoints(NOWHERE, NOWHERE, NOWHERE, f"127.0.0.1:{port}", NOWHERE)
    metrics = Metrics("bench")
    async with Client(endpoints, token=str) as client:
        pen = Pen(database, NOWHERE, "bench", metrics, seconds=3600)
        pen.take()
        database.write_now(_followed)
        splits = SplitBook(database, NOWHERE, terms.rule, lag=3600)
        debts = Debts(database, metrics)
        receipts = Receipts(
            database, client, terms, metrics, pen, debts, splits, room=0, block_time=lambda: int(time.time())
        )
        begun, cpu = time.perf_counter(), time.process_time()
        steps: list[int] = []
        while sum(steps) < len(documents):
            steps.append(await receipts.step())
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await server.stop(0)
    booked = metrics.registry.get_sample_value("openledger_bench_receipts_total", {"outcome": BOOKED})
    if booked != len(documents):
        raise RuntimeError(f"{booked} of {len(documents)} were booked")
    return {
        "database": "sqlite" if database.is_sqlite else "postgresql",
        "live": f"pages of {PAGE}, up to {BATCH} at once",
        "receipts": len(documents),
        "receipts_per_s": round(len(documents) / seconds),
        "postings_per_s": round(booking.POSTINGS * len(documents) / seconds),
        "cpu_us_a_receipt": round(cpu / len(documents) * 1e6, 1),
        "at_once": max(steps),
    }
