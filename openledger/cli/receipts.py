"""`openledger receipt fetch`: an answer's receipt and its trace as files, for who paid, to check and to give away."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Json, Key, Port, run

if TYPE_CHECKING:
    from openledger.client import ApiError

app = typer.Typer(no_args_is_help=True, help="An answer's receipt and trace, as files.")
_PREFIXES = ("responses/", "receipts/")


@app.callback()
def _group() -> None:
    """One command so far, which keeps its name."""


@app.command()
def fetch(
    response: Annotated[str, typer.Argument(help="The answer: responses/<id>, receipts/<id>, or the id alone.")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for a receipt in the making.")] = 20.0,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
    as_json: Json = False,
) -> None:
    """Write an answer's receipt to <id>.json and its trace, with what was asked and answered, to <id>.trace.

    Ask as who paid; whom the receipt pays gets the receipt alone.  Exit status 2: there is no trace to be had.

    Example: openledger receipt fetch responses/6f1c... --key keys/payer.key --to receipts
    """
    name = response
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)

    async def ask() -> tuple[bytes, bytes | ApiError]:
        from openledger.attribution.v1 import attribution_pb2 as pb
        from openledger.client import ApiError

        async with Connection(data, first_port, key, tuple(at or ()), makes_key=False).client() as client:
            receipt = pb.GetReceiptRequest(name=f"receipts/{name}", wait_seconds=wait)
            document = (await client.call(client.attribution.GetReceipt, receipt, wait + 30)).document
            try:
                wanted = pb.GetReceiptTraceRequest(name=f"receipts/{name}")
                return document, (await client.call(client.attribution.GetReceiptTrace, wanted)).document
            except ApiError as error:
                if error.reason not in ("PAYER_ONLY", "TRACE_GONE"):
                    raise
                return document, error

    document, trace = run(ask)
    to.mkdir(parents=True, exist_ok=True)
    receipt_file, trace_file = to / f"{name}.json", to / f"{name}.trace"
    receipt_file.write_bytes(document)
    if isinstance(trace, bytes):
        _write_private(trace_file, trace)
    _say(receipt_file, trace_file, trace, data / "artifacts", as_json)
    if not isinstance(trace, bytes):
        raise typer.Exit(2)


def _write_private(file: Path, data: bytes) -> None:
    """For nobody else on this machine to read, also where there was such a file that others could."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.truncate()
        opened.write(data)


def _say(receipt: Path, file: Path, trace: bytes | ApiError, artifacts: Path, as_json: bool) -> None:
    why = "" if isinstance(trace, bytes) else str(trace)
    if as_json:
        told = {"receipt": str(receipt), "trace": "" if why else str(file), "why_no_trace": why}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    typer.echo(f"The receipt is in {receipt}.")
    if why:
        typer.echo(f"There is no trace for you. {why}")
    else:
        typer.echo(f"The trace, with what was asked and answered, is in {file}: whoever has it can read it.")
        where = f" --artifacts {artifacts}" if artifacts.is_dir() else ""
        typer.echo(f"Check both: openledger verify receipt {receipt}{where}")
