"""An account's journal lines: on the screen, as CSV, as Parquet.

Files hold every line, newest first, one page at a time, and are there as a whole or not at all.  Amounts are signed
atomic units, exact: text in CSV, decimal256(76, 0), the widest there is, in Parquet.
"""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Context
from pathlib import Path
from typing import IO, Any

from openledger.client import Client
from openledger.ledger.v1 import ledger_pb2 as pb

COLUMNS = ("create_time", "journal", "kind", "book", "amount", "cause")
PAGE = 1000
_EXACT = Context(prec=80)


async def newest(client: Client, limit: int) -> pb.ListPostingsResponse:
    """The newest lines of the wallet's account."""
    return await _page(client, limit, "")


async def write_csv(client: Client, file: Path) -> int:
    """Write every line; returns how many.  `-` is stdout.  Times are RFC 3339 in UTC."""
    count = 0
    with _text(file) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        async for page in _pages(client):
            for line in page:
                writer.writerow((_time(line).isoformat().replace("+00:00", "Z"), *_fields(line)))
            count += len(page)
    return count


async def write_parquet(client: Client, file: Path) -> int:
    """Write every line; returns how many.  Raises `ValueError` where pyarrow is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet needs pyarrow: pip install 'openledger[parquet]', or write --csv") from None

    types = (pa.timestamp("us", tz="UTC"), *[pa.string()] * 3, pa.decimal256(76, 0), pa.string())
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    count = 0
    with _whole(file) as part, parquet.ParquetWriter(part, schema) as writer:
        async for page in _pages(client):
            rows = [(_time(line), *_fields(line)) for line in page]
            columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
            columns[4] = [_EXACT.create_decimal(amount) for amount in columns[4]]
            writer.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True)), schema=schema))
            count += len(page)
    return count


def show(found: pb.ListPostingsResponse) -> None:
    """Lines, for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from openledger.money import format_open

    table = Table(
        "time", Column("OPEN", justify="right", no_wrap=True), "kind", Column("for", overflow="fold"), box=None
    )
    for line in found.postings:
        when = _time(line).isoformat(" ", "seconds").removesuffix("+00:00")
        amount = format_open(int(line.amount), 18)
        table.add_row(when, escape(amount), escape(f"{line.kind} ({line.book})"), escape(line.cause))
    out = Console(highlight=False)
    out.print(table if found.postings else "Nothing went in or out yet.")
    if found.next_page_token:
        out.print("[dim]There are more: --limit shows more of them, --csv and --parquet write all.[/dim]")


async def _pages(client: Client) -> AsyncIterator[list[pb.Posting]]:
    token = ""
    while True:
        page = await _page(client, PAGE, token)
        if page.postings:
            yield list(page.postings)
        token = page.next_page_token
        if not token:
            return


async def _page(client: Client, size: int, token: str) -> pb.ListPostingsResponse:
    if client.wallet is None:
        raise ValueError("a statement is shown to its account alone: name its key with --key")
    request = pb.ListPostingsRequest(account=client.wallet.account, page_size=size, page_token=token)
    found: pb.ListPostingsResponse = await client.call(client.ledger.ListPostings, request)
    return found


def _time(line: pb.Posting) -> datetime:
    when: datetime = line.create_time.ToDatetime(tzinfo=UTC)
    return when


def _fields(line: pb.Posting) -> tuple[str, str, str, str, str]:
    return line.journal, line.kind, line.book, line.amount, line.cause


@contextlib.contextmanager
def _text(file: Path) -> Iterator[IO[str]]:
    if str(file) == "-":
        yield sys.stdout
        return
    with _whole(file) as part, part.open("w", newline="") as out:
        yield out


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A file beside it, which takes its place once everything is written."""
    part = file.with_name(f".{file.name}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
