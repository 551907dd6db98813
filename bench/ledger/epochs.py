"""Sealing an epoch and proving what is in it, for so many accounts, each with earnings since the epoch before."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from types import SimpleNamespace
from typing import Any

import grpc
from sqlalchemy import Connection

from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.kit.database import Database
from services.ledger import journal, settle
from services.ledger.claims_book import ClaimsBook
from services.ledger.servicer import LedgerServicer
from services.ledger.store import books, bulk, epochs
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.tables import BALANCE

CHAIN_ID, DISTRIBUTOR = 31337, "0x" + "9" * 40
RECEIPTS = ["e" * 64] * 1000
QUESTIONS = 2000


def measure(database: Database, accounts: int) -> dict[str, Any]:
    """Seal a second epoch as the service does it, in one transaction, and ask for proofs over gRPC."""
    database.write_now(lambda c: _earn(c, accounts))
    database.write_now(lambda c: _seal(c, 1))
    begun, cpu = time.perf_counter(), time.process_time()
    database.write_now(lambda c: _seal(c, 2))
    sealed = {"seal_s": round(time.perf_counter() - begun, 2), "seal_cpu_s": round(time.process_time() - cpu, 2)}
    proved = asyncio.run(_prove(database, accounts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"accounts": accounts} | sealed | proved | {"peak_memory_mb": round(peak / 1024)}


def address(number: int) -> str:
    """An account, anywhere in the order of addresses."""
    return f"0x{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**160:040x}"


def _earn(connection: Connection, accounts: int) -> None:
    """Books as they are after so many were paid; sealing looks at books alone."""
    rows = [(journal.payable(address(number)), 10**18 + number, 0) for number in range(1, accounts + 1)]
    bulk.add(connection, BALANCE, ("book", "credits", "debits"), rows)


def _seal(connection: Connection, number: int) -> None:
    before = epochs.leaves(connection, number - 1)
    sealed = settle.seal(CHAIN_ID, DISTRIBUTOR, books.earned(connection, journal.PAYABLE), before, RECEIPTS)
    epoch = Epoch(
        number=number,
        attempt=1,
        state=State.ACTIVE,
        root=sealed.root,
        log_root=sealed.log_root,
        receipt_count=len(RECEIPTS),
        leaf_count=len(sealed.leaves),
        total=sealed.total,
        operation=f"operations/{number}",
    )
    epochs.store(connection, epoch, sealed.leaves)


async def _prove(database: Database, accounts: int) -> dict[str, float]:
    """The first proof, for which the tree is built, and many more, one after the other."""
    chain: Any = SimpleNamespace(chain_id=CHAIN_ID, contracts=SimpleNamespace(distributor=DISTRIBUTOR))
    parts: Any = SimpleNamespace(config=SimpleNamespace(times=None), claims=ClaimsBook(database, chain))
    server = grpc.aio.server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(parts), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    draw, seconds = random.Random(0), []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ledger_pb2_grpc.LedgerServiceStub(channel)
        for _ in range(QUESTIONS + 1):
            asked = ledger_pb2.GetClaimRequest(account=f"accounts/{address(draw.randint(1, accounts))}")
            begun = time.perf_counter()
            await stub.GetClaim(asked)
            seconds.append(time.perf_counter() - begun)
    await server.stop(0)
    rest = sorted(seconds[1:])
    return {
        "first_proof_s": round(seconds[0], 2),
        "proof_p50_ms": round(rest[len(rest) // 2] * 1e3, 2),
        "proof_p99_ms": round(rest[len(rest) * 99 // 100] * 1e3, 2),
    }
