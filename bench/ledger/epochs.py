"""Closing an epoch as the service does it, and proving what is in it: of so many accounts, so many earned in it.

What accounts had earned before stands in the books and in the leaves of an epoch before.  The epoch that is measured
has receipts of as many models as are needed for each that earns to be a contributor of one of them.  Measured are the
very steps of the service: `Closing` settles every model's answers together and seals, in one transaction that holds the
books (`seal_s`); `Settler` derives the leaves again from the journals (`sound_s`); `Bundles` writes the epoch's files
(`bundle_s`), after which the root can be sent; `ClaimsBook` gives a first proof (`first_proof_s`).  `ready_s` is all of
them: from the order to close until the root can be sent and a proof can be given.  The chain is left out, and what
waits for it.

Of epochs with many answers the receipts are signed, so that whoever checks one derives it from its bundle: `verify_s`.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import grpc
from sqlalchemy import Connection

from bench.ledger import booking, signatures
from openledger.artifacts import ArtifactStore
from openledger.client import request_id
from openledger.epoch.verify import verify_epoch
from openledger.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from services.kit.database import Database
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.ledger import journal, settle
from services.ledger.bundle import Bundles
from services.ledger.claims_book import ClaimsBook
from services.ledger.closing import Closing
from services.ledger.pen import Pen
from services.ledger.relay import Asked
from services.ledger.servicer import LedgerServicer
from services.ledger.settler import Settler
from services.ledger.store import books, bulk, epochs
from services.ledger.store import chain as followed
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.tables import BALANCE, METADATA

CHAIN_ID, DISTRIBUTOR, REGISTRY = 31337, "0x" + "9" * 40, "0x" + "8" * 40
CONTRIBUTORS = 1_000
"""Of a model; each model gave one answer."""
FEW = 16
"""Contributors of a model, where there are many answers."""
BEFORE = 10**18
MOST = 10**30
TOGETHER = 1_000
QUESTIONS = 2_000
RECEIPTS = ["e" * 64]

T = TypeVar("T")


def measure(database: Database, accounts: int, earning: int, answers: int = 0) -> dict[str, Any]:
    """Close a second epoch, in which the first `earning` of the accounts earn, and ask for proofs over gRPC.

    answers: so many in all, by models of few contributors; 0: one by each of as few models as there can be.
    """
    database.write_now(lambda c: _before(c, accounts))
    models = _models(earning, FEW if answers else CONTRIBUTORS)
    _answer(database, models, answers)
    _forget_peak()
    contracts = SimpleNamespace(distributor=DISTRIBUTOR, models=REGISTRY, escrow=REGISTRY)
    chain: Any = SimpleNamespace(chain_id=CHAIN_ID, contracts=contracts)
    with tempfile.TemporaryDirectory() as folder:
        closed = asyncio.run(_close(database, chain, Path(folder), check=bool(answers)))
    proved = asyncio.run(_prove(database, chain, accounts))
    kind = "sqlite" if database.is_sqlite else "postgresql"
    found = closed | proved | {"peak_memory_mb": _peak()}
    ready = round(sum(found[part] for part in ("seal_s", "sound_s", "bundle_s", "first_proof_s")), 2)
    of = {"accounts": accounts, "earning": earning, "answers": answers or len(models)}
    return {"database": kind, **of, "ready_s": ready} | found


def address(number: int) -> str:
    """An account, anywhere in the order of addresses."""
    return f"0x{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**160:040x}"


def _before(connection: Connection, accounts: int) -> None:
    """Books and an epoch that pays, as they are after so many earned something; without its journals."""
    rows = [(journal.payable(address(number)), BEFORE, 0) for number in range(1, accounts + 1)]
    bulk.add(connection, BALANCE, ("book", "credits", "debits"), rows)
    sealed = settle.seal(CHAIN_ID, DISTRIBUTOR, books.earned(connection, journal.PAYABLE), {}, RECEIPTS)
    state = State.ACTIVE
    roots = {"root": sealed.root, "log_root": sealed.log_root, "total": sealed.total}
    counts = {"receipt_count": len(RECEIPTS), "leaf_count": len(sealed.leaves)}
    epochs.store(connection, Epoch(number=1, attempt=1, state=state, operation="", **roots, **counts), sealed.leaves)


def _models(earning: int, contributors: int) -> list[list[str]]:
    names = [address(number) for number in range(1, earning + 1)]
    return [names[at : at + contributors] for at in range(0, earning, contributors)]


def _answer(database: Database, models: list[list[str]], answers: int) -> None:
    """That many, by one model after the other, signed; or one by each, which is not looked at again."""
    leases, together = database.write_now(booking.begin), TOGETHER if answers else 1
    numbers = range(answers or len(models))
    for at in range(0, len(numbers), together):
        page = [
            booking.receipt(number, leases, models[number % len(models)], model=f"{number % len(models):064x}")
            for number in numbers[at : at + together]
        ]
        if answers:
            page = signatures.admitted(page)
        database.write_now(lambda c, page=page: booking.book(c, page))  # type: ignore[misc]


def _read_chain(connection: Connection, contract: str) -> None:
    """As if there were one, and it was read just now."""
    followed.follow(connection, contract, 1, "0x1")
    followed.note_read_time(connection, contract, int(time.time()))


async def _close(database: Database, chain: Any, folder: Path, *, check: bool) -> dict[str, float]:
    """How long each step takes, in seconds; `cpu` is this process's."""
    metrics, operations = Metrics("bench"), Operations(database, METADATA, "ledger")
    pen = Pen(database, DISTRIBUTOR, "bench", metrics, seconds=3600)
    pen.take()
    checks: Any = SimpleNamespace(trouble="")
    artifacts = ArtifactStore(folder / "artifacts")
    bundles = Bundles(database, chain, artifacts, metrics, folder / "work", most=MOST, lag=3600)
    nobody: Any = None  # nothing is sent
    how: Any = {"confirmations": 0, "most": MOST, "poll_seconds": 1, "room": 0, "credit": 0}
    settler = Settler(database, chain, nobody, pen, operations, bundles, metrics, checks, nobody, **how)
    closing = Closing(
        database, chain, settler, operations, Idempotency(METADATA), metrics, batch=50, most=MOST, checks=checks
    )
    request = ledger_pb2.CloseEpochRequest(request_id=request_id())
    cpu = time.process_time()
    _, closed = await _timed(closing.close(Asked("operator", request, request.request_id)))
    cpu = time.process_time() - cpu
    epoch = await database.read(lambda c: epochs.oldest(c, State.SEALED))
    if epoch is None:
        raise RuntimeError("no epoch was sealed")
    again, sound = await _timed(settler._sound(epoch))
    if again is not epoch:
        raise RuntimeError("the journals give other leaves than the books")
    await database.write(partial(_read_chain, contract=chain.contracts.escrow))
    digest, bundled = await _timed(bundles.publish(epoch, pen))
    await database.write(lambda c: epochs.advance(c, epoch, State.ACTIVE))
    size = sum(file.stat().st_size for file in (folder / "artifacts").rglob("*") if file.is_file())
    checked = {"verify_s": _verified(artifacts.root, digest)} if check else {}
    return checked | {
        "seal_s": closed,
        "seal_cpu_s": round(cpu, 2),
        "sound_s": sound,
        "bundle_s": bundled,
        "bundle_mb": round(size / 2**20, 1),
    }


def _verified(artifacts: Path, digest: str) -> float:
    """CPU seconds of deriving the epoch again from its bundle; the epoch before has none."""
    begun = time.process_time()
    report = verify_epoch(artifacts, digest, alone=True)
    if not report.ok:
        raise RuntimeError(f"the epoch does not hold: {report}")
    return round(time.process_time() - begun, 2)


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    begun = time.perf_counter()
    return await work, round(time.perf_counter() - begun, 2)


async def _prove(database: Database, chain: Any, accounts: int) -> dict[str, float]:
    """The first proof, for which the nodes of all pages are read, and many more, one after the other."""
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


def _forget_peak() -> None:
    """What was held until now counts no more (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process held since then, in MB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)
